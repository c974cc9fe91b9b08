/** Answers the call Reverse. */
import { refuseAnyField } from '../wire/request.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Reverses a committed, reversible migration. Answers once REVERSING is recorded. */
export async function reverse({ control, request, signal }: Call): Promise<Uint8Array> {
  refuseAnyField('mongoferry.v1.ReverseRequest', request);
  await control.reverse(signal);
  return EMPTY_RESPONSE;
}
