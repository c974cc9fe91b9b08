/** Decides whether a caller has shown what the server asks for, and logs callers that were refused. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';

/** Whether an `authorization` header carries the token, if one is needed; takes the same time for every wrong token. */
export function hasToken(authToken: string | undefined, authorization: string | undefined): boolean {
  if (authToken === undefined) return true;
  const given = /^Bearer +([\x21-\x7e]+)$/i.exec(authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(given), digest(authToken));
}

/** The refusal of a caller: what every call needs, and not what this one lacks or has wrong. */
export function unauthenticated(needsToken: boolean, needsCertificate: boolean): AppError {
  const needed = [
    ...(needsCertificate ? ['a client certificate that it trusts'] : []),
    ...(needsToken ? ['the header "authorization: Bearer <token>" with the right token'] : []),
  ];
  return new AppError('Unauthenticated', `this server needs ${needed.join(' and ')}`);
}

const REFUSALS_TOLD_EVERY_MS = 10_000;

/** Logs callers that were refused: the first at once, then a line in ten seconds at most, so that no caller fills a disk. */
export class RefusalLog {
  readonly #logger: Logger;
  readonly #door: string;
  #toldAt = Number.NEGATIVE_INFINITY;
  #untold = 0;

  constructor(logger: Logger, door: 'grpc' | 'http') {
    this.#logger = logger;
    this.#door = door;
  }

  /** One caller that was refused, from the address `peer`. */
  note(peer: string): void {
    this.#untold += 1;
    const now = performance.now();
    if (now - this.#toldAt < REFUSALS_TOLD_EVERY_MS) return;
    this.#logger.warn('callers without valid credentials were refused', {
      door: this.#door,
      lastFrom: peer,
      count: this.#untold,
    });
    this.#toldAt = now;
    this.#untold = 0;
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
