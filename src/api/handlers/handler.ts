/** Declares what a handler is given and what it returns, the same for both doors. */
import type { MigrationControl } from '../../progress/control.js';
import type { EncodedRequest } from '../wire/request.js';

/** One call, from whichever front door. */
export interface Call {
  readonly control: MigrationControl;
  readonly request: EncodedRequest;
  /**
   * Aborts when the caller has gone, its deadline has passed or the server stops. What that ends: see MigrationControl.
   */
  readonly signal: AbortSignal;
}

/** Answers one call with an encoded response. Errors: AppError; anything else is a bug and is answered as Internal. */
export type UnaryHandler = (call: Call) => Promise<Uint8Array>;

/** Answers one call with encoded responses, made when they are pulled: a slow reader gets fewer, each of them fresh. */
export type StreamHandler = (call: Call) => AsyncGenerator<Uint8Array, void, undefined>;

/** A method of the service and its handler. */
export type Rpc =
  | { readonly kind: 'unary'; readonly handler: UnaryHandler }
  | { readonly kind: 'stream'; readonly handler: StreamHandler };
