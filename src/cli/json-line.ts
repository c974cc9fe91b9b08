/** Prints an answer as one line of JSON, with the same content as the HTTP door's. */
import { CheckResponse, GetProgressResponse, Mismatch, RepairResponse } from '../../gen/mongoferry/v1/sync_service.js';
import { messageType } from '../api/descriptors.js';
import { decodeToJson } from '../api/json/json-out.js';

interface Answers {
  readonly CheckResponse: CheckResponse;
  readonly GetProgressResponse: GetProgressResponse;
  readonly RepairResponse: RepairResponse;
}

const ENCODERS: { readonly [N in keyof Answers]: (message: Answers[N]) => Uint8Array } = {
  CheckResponse: (message) => CheckResponse.encode(message).finish(),
  GetProgressResponse: (message) => GetProgressResponse.encode(message).finish(),
  RepairResponse: (message) => RepairResponse.encode(message).finish(),
};

/** An answer as one line of JSON, the same as the HTTP gateway's body for it. */
export function toJsonLine<N extends keyof Answers>(name: N, message: Answers[N]): string {
  const json = decodeToJson(messageType(`mongoferry.v1.${name}`), ENCODERS[name](message));
  return `${JSON.stringify({ success: true, ...json })}\n`;
}

/** A mismatch as one line of JSON, as an element of the gateway's list. */
export function mismatchLine(mismatch: Mismatch): string {
  const json = decodeToJson(messageType('mongoferry.v1.Mismatch'), Mismatch.encode(mismatch).finish());
  return `${JSON.stringify(json)}\n`;
}
