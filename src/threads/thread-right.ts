/** Gives a thread its right to write: a deadline in shared memory, which the lease's holder keeps up to date. */

import { TransientError } from '../cluster/errors.js';
import type { WriteRight } from '../cluster/write-right.js';
import { AppError, InvariantError } from '../errors.js';
import type { SharedDeadline } from '../lib/shared-deadline.js';

/**
 * As the lease answers in the thread that renews it: LeaseLost once the right is over for good; TransientError while it
 * is not certain. Structural commands are none of a thread's.
 */
export class ThreadRight implements WriteRight {
  /** Of documents no term is stored. */
  readonly term = undefined;
  readonly #deadline: SharedDeadline;

  constructor(deadline: SharedDeadline) {
    this.#deadline = deadline;
  }

  /** Errors: LeaseLost once the lease has ended for this thread; TransientError while it is not renewed. */
  assertHeld(): void {
    if (this.#deadline.isOver)
      throw new AppError('LeaseLost', 'this thread may no longer write: the lease has ended for it');
    if (this.#deadline.leftMs <= 0) throw new TransientError('the lease of the migration could not be renewed in time');
  }

  changing<T>(): Promise<T> {
    return Promise.reject(new InvariantError('a structural command was to be sent by a thread'));
  }
}
