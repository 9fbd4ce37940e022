/** Errors of one step among many. */
import { E2EEError, StoreError } from "./errors.js";

/**
 * The result, or the error of this step alone: what the store refuses is everybody's.
 *
 * @template T
 * @param {Promise<T>} step
 * @returns {Promise<T | E2EEError>}
 */
export async function settled(step) {
  try {
    return await step;
  } catch (error) {
    if (!(error instanceof E2EEError) || error instanceof StoreError) throw error;
    return error;
  }
}
