import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../errors.js';

/**
 * Checks an `authorization` header against the configured token; without a configured token, every caller may pass.
 * Takes the same time for every wrong token. Errors: Unauthenticated.
 */
export function requireToken(authToken: string | undefined, authorization: string | undefined): void {
  if (authToken === undefined) return;
  const given = /^Bearer +(.+)$/i.exec(authorization ?? '')?.[1];
  if (given === undefined) throw new AppError('Unauthenticated', 'a header "authorization: Bearer <token>" is needed');
  if (!timingSafeEqual(digest(given), digest(authToken)))
    throw new AppError('Unauthenticated', 'the token is not valid');
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
