/** Holds lanes of a migration where they are. */
import type { LaneApplier } from '../../src/apply/lane-applier.js';
import type { Operation } from '../../src/apply/operation.js';
import { rejectOnAbort } from '../../src/lib/signals.js';
import { deferred } from '../../src/lib/tasks.js';
import type { MigrationHooks } from '../../src/migration/migration.js';

/** A batch of operations that a lane holds in flight. */
export interface HeldLane {
  /** Resolves with the operations once the lane holds them. */
  readonly entered: Promise<readonly Operation[]>;
  readonly isHeld: boolean;
  /** Lets the lane go on. */
  release(): void;
}

/** Holds lanes of a migration where they are, for `MigrationHooks`. */
export class HeldLanes {
  #holds: Hold[] = [];

  /**
   * Holds the next batch that has an operation of this kind. `before`: nothing of it is written; `after`: all of it is
   * written, but the lane has not told so. A stop of the migration ends it as it would end a write.
   */
  hold(at: 'before' | 'after', where: (operation: Operation) => boolean = () => true): HeldLane {
    const [entered, released] = [deferred<readonly Operation[]>(), deferred<void>()];
    const hold: Hold = { at, where, entered: entered.resolve, released: released.promise, state: 'waiting' };
    this.#holds.push(hold);
    return {
      entered: entered.promise,
      get isHeld() {
        return hold.state === 'held';
      },
      release: () => {
        hold.state = 'released';
        released.resolve();
      },
    };
  }

  /** For the migration under test. */
  get hooks(): Required<Pick<MigrationHooks, 'wrapApplier'>> {
    return { wrapApplier: (applier) => this.#wrap(applier) };
  }

  #wrap(applier: LaneApplier): LaneApplier {
    return {
      apply: async (operations, signal) => {
        const hold = this.#holds.find((each) => each.state === 'waiting' && operations.some(each.where));
        if (hold !== undefined) hold.state = 'held';
        if (hold?.at === 'before') await wait(hold, operations, signal);
        await applier.apply(operations, signal);
        if (hold?.at === 'after') await wait(hold, operations, signal);
      },
    };
  }
}

interface Hold {
  readonly at: 'before' | 'after';
  readonly where: (operation: Operation) => boolean;
  readonly entered: (operations: readonly Operation[]) => void;
  readonly released: Promise<void>;
  state: 'waiting' | 'held' | 'released';
}

async function wait(hold: Hold, operations: readonly Operation[], signal: AbortSignal): Promise<void> {
  hold.entered(operations);
  await Promise.race([hold.released, rejectOnAbort(signal)]);
}
