import assert from "node:assert/strict";
import test from "node:test";
import { isName, nameInPath } from "../../../web/pages/page.js";
import { SalamError } from "../../../web/sdk/signaling.js";
import { denial } from "../../../web/ui/denial.js";
import ar from "../../../web/ui/strings_ar.js";
import en from "../../../web/ui/strings_en.js";

test("a link names a room or stream that the server takes", () => {
  assert.equal(nameInPath("/room/majlis-1"), "majlis-1");
  assert.equal(nameInPath("/watch/a%2Eb"), "a.b");
  assert.equal(nameInPath(`/room/${"x".repeat(64)}`), "x".repeat(64));
});

test("a link that names none is told apart, however it is damaged", () => {
  for (const path of ["", "/", "/room", "/room/", "/room/bad%20name", "/room/%E0%A4%A", "/room/%", "/room/.hidden", `/room/${"x".repeat(65)}`, "/room/a%0A", "/room/مجلس"]) {
    assert.equal(nameInPath(path), "", path);
  }
  assert.equal(isName(""), false);
});

test("who is not let in reads why, in words of every language and not the server's", () => {
  const codes = ["token_missing", "token_expired", "token_malformed", "token_signature", "token_of_tomorrow", "grant_missing"];
  const titles = codes.map((code) => {
    const words = denial(new SalamError(code, "raw text"));
    assert.ok(words, code);
    for (const catalogue of [en, ar]) {
      for (const key of [words.title, words.hint]) assert.ok(catalogue[key] && !/\{/.test(catalogue[key]), `${code}: ${key}`);
    }
    return words.title;
  });
  assert.equal(new Set(titles).size, 4);
});

test("what is about something else is not taken for a matter of invitations", () => {
  for (const error of [new SalamError("room_full", ""), new Error("token_missing"), null, undefined, "grant_missing"]) assert.equal(denial(error), null);
});
