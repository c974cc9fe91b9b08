import { CheckResponse, GetProgressResponse } from '../../gen/mongoferry/v1/sync_service.js';
import { messageType } from '../api/descriptors.js';
import { decodeToJson } from '../api/json/json-out.js';

interface Answers {
  readonly CheckResponse: CheckResponse;
  readonly GetProgressResponse: GetProgressResponse;
}

const ENCODERS: { readonly [N in keyof Answers]: (message: Answers[N]) => Uint8Array } = {
  CheckResponse: (message) => CheckResponse.encode(message).finish(),
  GetProgressResponse: (message) => GetProgressResponse.encode(message).finish(),
};

/** An answer as one line of JSON, the same as the HTTP gateway's body for it. */
export function toJsonLine<N extends keyof Answers>(name: N, message: Answers[N]): string {
  const json = decodeToJson(messageType(`mongoferry.v1.${name}`), ENCODERS[name](message));
  return `${JSON.stringify({ success: true, ...json })}\n`;
}
