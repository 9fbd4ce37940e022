/**
 * End-to-end encryption in the browser: the profile "salam-e2ee v1" (docs/reference/e2ee-profile.md) over WebCrypto.
 *
 * The Python package `e2ee` is the same thing for servers' tests, robots and other clients; both run the same known answers. What the
 * network carries is the application's business: nothing here opens a connection, but for fetching the modules that a browser lacks.
 */
export { AttachmentDescriptor, AttachmentOpener, AttachmentSealer, openStream, paddedSize, sealStream } from "./attachment.js";
export { OpenedBlob, SealedBlob } from "./attachment_blob.js";
export { BACKUP_HEADER_BYTES, changeSecret, lockBackup, typedCode, unlockBackup } from "./backup.js";
export { BackupReader, BackupWriter, readBackup } from "./backup_records.js";
export { DeviceCertificate, DeviceList, deviceKeySignature, issueCertificate, issueDeviceList } from "./certificates.js";
export { encodeContent, parseContent } from "./content.js";
export * from "./errors.js";
export { SenderKeyGroup } from "./group.js";
export { Operation, signOperation } from "./group_operation.js";
export { GroupState } from "./group_state.js";
export { PreKeyMessage, chooseSuite, initiate, respond } from "./handshake.js";
export { DEFAULT_LIMITS, DEFAULT_POLICY, SUITE_PQ, SUITE_X25519, makeLimits, makePolicy } from "./limits.js";
export { LinkOffer, NewDevice, PrimaryDevice } from "./linking.js";
export { checkPassphrase, entropyBits } from "./passphrase.js";
export { Bundle, KemPreKey, OneTimePreKey, SignedPreKey, makeKemPrekey, makeOneTimePrekey, makeSignedPrekey, parsePrekey } from "./prekeys.js";
export { drawCode, formatCode, parseCode } from "./recovery_code.js";
export { SafetyCode, checkCode, grouped, safetyNumber } from "./safety_number.js";
export { SenderCertificate, openSender, sealSender } from "./sealed.js";
export { Session } from "./session.js";
export { agreementPair, kemAvailable, lockedPair, signingPair, systemRandom } from "./suite.js";
export { Device } from "./device.js";
export { DeviceGroups } from "./device_groups.js";
export { DeviceSteps } from "./device_steps.js";
export { GroupSteps } from "./group_steps.js";
export { Store, deleteStore, memoryStore, openStore } from "./store.js";
