/** Decodes a request and refuses fields that this server does not know. */
import { invalidRequest } from '../../errors.js';
import { messageType } from '../descriptors.js';
import { Violations } from '../violations.js';
import { findForeignFields, TooManyFields } from './foreign-fields.js';

/** A request as a front door hands it in. */
export interface EncodedRequest {
  readonly bytes: Uint8Array;
  /** What the front door found wrong already; what is found later is added to it. Default: nothing. */
  readonly violations?: Violations;
}

/** A decoded request, with the violations so far; the caller adds its own and then calls `throwIfAny`. */
export interface DecodedRequest<T> {
  readonly message: T;
  readonly violations: Violations;
}

/**
 * Decodes a request. Errors: InvalidRequest when the bytes are no such message, a 64-bit number beyond ±2^53 included;
 * unknown fields are violations.
 */
export function decodeRequest<T>(
  fullName: string,
  codec: { decode(bytes: Uint8Array): T },
  request: EncodedRequest,
): DecodedRequest<T> {
  const violations = request.violations ?? new Violations();
  try {
    findForeignFields(messageType(fullName), request.bytes, violations);
    return { message: codec.decode(request.bytes), violations };
  } catch (error) {
    if (error instanceof TooManyFields) throw invalidRequest([{ field: '', description: error.message }]);
    const isTooLarge = error instanceof Error && error.message.includes('MAX_SAFE_INTEGER');
    violations.add('', isTooLarge ? 'holds an integer beyond 2^53' : `is not an encoded ${fullName}`);
    throw violations.toError();
  }
}

/** Decodes a request whose message has no fields. Errors: InvalidRequest. */
export function refuseAnyField(fullName: string, request: EncodedRequest): void {
  decodeRequest(fullName, { decode: () => undefined }, request).violations.throwIfAny();
}
