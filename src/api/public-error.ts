/** Decides what a caller may see of an error. */
import { AppError } from '../errors.js';
import type { Logger } from '../lib/logger.js';
import { redactText } from '../lib/redact.js';

/**
 * What a caller may see of a failure: an AppError without credentials in its text. Anything else is a bug of ours,
 * whose text may hold anything: it goes to the log, and the caller gets `Internal`.
 */
export function publicError(reason: unknown, logger: Logger, facts: Readonly<Record<string, unknown>>): AppError {
  const error = AppError.from(reason);
  if (error.code === 'Internal') {
    logger.error('a call failed for an internal reason', { ...facts, error: reason });
    return new AppError('Internal', "an internal error; the server's log has the details");
  }
  const metadata = Object.fromEntries(Object.entries(error.metadata).map(([name, value]) => [name, redactText(value)]));
  const violations = error.violations.map((one) => ({ ...one, description: redactText(one.description) }));
  const { moreViolations } = error;
  return new AppError(error.code, redactText(error.message), { metadata, violations, moreViolations });
}
