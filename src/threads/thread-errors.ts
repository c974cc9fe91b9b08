/** Carries errors from one thread to another: by their names, since classes are lost on the way. */

import { clusterError, isTransient, isWorthAnotherRun, TransientError, tagExhausted } from '../cluster/errors.js';
import { AppError, type ErrorName, type FieldViolation } from '../errors.js';
import type { ErrorForm } from '../lib/thread-channel.js';

/** An AppError as it crosses. */
interface PlainError {
  readonly code: ErrorName;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly moreViolations: number;
  /** It was waited for as long as anything is: whoever meets it does not begin once more. */
  readonly isExhausted: boolean;
  /** Whoever meets it tries again: it arrives as a TransientError. */
  readonly mayPass: boolean;
}

/**
 * An AppError arrives as one with the same name, text, metadata and violations, and is as transient, and as much worth
 * another run, as it was. The driver's errors have been turned into ours before they leave. Causes stay behind.
 */
export const threadErrors: ErrorForm = {
  toPlain: (error): PlainError => {
    const mayPass = isTransient(error);
    const made = error instanceof AppError ? error : clusterError(error, 'working in a thread');
    const { code, message, metadata, violations, moreViolations } = made;
    const isExhausted = !isWorthAnotherRun(made) && isWorthAnotherRun(new AppError(code, message));
    return { code, message, metadata, violations, moreViolations, isExhausted, mayPass };
  },
  fromPlain: (plain) => {
    const { code, message, metadata, violations, moreViolations, isExhausted, mayPass } = plain as PlainError;
    if (mayPass) return new TransientError(message);
    const made = new AppError(code, message, { metadata, violations, moreViolations });
    if (isExhausted) tagExhausted(made);
    return made;
  },
};
