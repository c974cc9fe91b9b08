/** Answers the call Resume. */
import { refuseAnyField } from '../wire/request.js';
import { EMPTY_RESPONSE } from '../wire/responses.js';
import type { Call } from './handler.js';

/** Goes on after a pause. Answers once RUNNING is recorded. */
export async function resume({ control, request, signal }: Call): Promise<Uint8Array> {
  refuseAnyField('mongoferry.v1.ResumeRequest', request);
  await control.resume(signal);
  return EMPTY_RESPONSE;
}
