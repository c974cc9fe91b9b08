/** Computes the position that is safe to store, while batches of change events are applied in parallel. */
import { EventEmitter, once } from 'node:events';
import { InvariantError } from '../errors.js';
import type { PushBack } from '../lib/push-back.js';

/** Marks one entry applied; returns the new safe position if it moved. Call once. */
export type MarkApplied<P> = () => P | undefined;

/**
 * Lets batches of change events be applied in parallel and reports the one position that is safe to store: everything
 * at or before it is on the destination.
 *
 * Why not simply the position of the batch that was applied last: batches end out of order. Suppose A, B and C are read
 * in this order, and C is applied first. If C's position were stored and the process died, a restart would go on behind
 * C, and A and B would be lost. So C only marks itself applied. When A is applied, the safe position moves to A; when B
 * is, it moves over B and C at once.
 *
 * Invariant: the safe position is that of the last batch of the longest run of applied batches from the beginning. It
 * never moves back. A batch whose write failed is never marked, so the position cannot pass it: the caller must fail
 * the stream. Replaying what is after the safe position is harmless, since all operations may be repeated.
 *
 * Units: `limitBytes` and `bytes` are raw BSON bytes, held until the safe position passes the batch, so the limit
 * bounds memory and replay after a crash. A larger batch goes in alone.
 * Errors: `admit` rejects once `signal` aborts; a repeated markApplied throws InvariantError.
 * Source: docs/04-apply.md.
 */
export class ApplyWindow<P> {
  readonly #limitBytes: number;
  readonly #order: { readonly position: P; readonly bytes: number; applied: boolean }[] = [];
  readonly #room = new EventEmitter();
  readonly #pushBack: PushBack | undefined;
  #heldBytes = 0;

  constructor(options: { readonly limitBytes: number; readonly pushBack?: PushBack }) {
    this.#limitBytes = options.limitBytes;
    this.#pushBack = options.pushBack;
  }

  /** Bytes admitted whose position is not safe yet. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Waits for room, then registers the batch. Call in stream order, from one reader. */
  async admit(position: P, bytes: number, signal: AbortSignal): Promise<MarkApplied<P>> {
    signal.throwIfAborted();
    while (this.#heldBytes > 0 && this.#heldBytes + bytes > this.#limitBytes) {
      const room = once(this.#room, 'room', { signal });
      await (this.#pushBack?.during(room) ?? room);
    }
    const entry = { position, bytes, applied: false };
    this.#order.push(entry);
    this.#heldBytes += bytes;
    return () => this.#markApplied(entry);
  }

  #markApplied(entry: { applied: boolean }): P | undefined {
    if (entry.applied) throw new InvariantError('a batch of change events was marked applied twice');
    entry.applied = true;
    const open = this.#order.findIndex((each) => !each.applied);
    const passed = this.#order.splice(0, open < 0 ? this.#order.length : open);
    for (const { bytes } of passed) this.#heldBytes -= bytes;
    if (passed.length > 0) this.#room.emit('room');
    return passed.at(-1)?.position;
  }
}
