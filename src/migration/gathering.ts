/** Decides when a call that every instance must be given takes effect, and when another instance is to coordinate. */
import type { GatheredEvent } from '../instances/records.js';
import type { State } from '../metadata/state.js';
import { commitObstacle } from '../progress/commit-obstacle.js';
import type { SnapshotSources } from '../progress/observed.js';
import type { Session } from './session.js';

/** What it looks at. */
export interface GatheringHost {
  readonly config: { readonly coordinated?: boolean };
  readonly state: State;
  readonly session: Session | undefined;
  readonly reporter: { readonly sources: SnapshotSources; changed(): void };
}

/** What is to be done without a call to this instance. */
export type Due = GatheredEvent | 'standDown';

/** Of an instance without others every call takes effect at once, and nothing is ever due. */
export class Gathering {
  readonly #host: GatheringHost;

  constructor(host: GatheringHost) {
    this.#host = host;
  }

  /** A call to this instance: `carryOut` if every instance has been given it, else it is noted. Errors: of `carryOut`. */
  async give(
    { crew }: Session,
    event: GatheredEvent,
    carryOut: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { config, reporter } = this.#host;
    if (crew.living.length === 0) return carryOut();
    await crew.look(signal);
    crew.give(event, config.coordinated === true);
    if (!crew.gathered(event).isComplete) return reporter.changed();
    try {
      await carryOut();
    } catch (error) {
      // Its caller is told so: it must not take effect later by itself.
      crew.takeBack(event);
      throw error;
    }
  }

  /** A call that all have been given by now; or the place of a paused coordinator, for one that works. */
  get due(): Due | undefined {
    const { state, session, reporter } = this.#host;
    if (session === undefined) return undefined;
    const isComplete = (event: GatheredEvent): boolean => session.crew.gathered(event).isComplete;
    if (state === 'RUNNING' && isComplete('commit') && commitObstacle(reporter.sources) === undefined) return 'commit';
    if (state === 'COMMITTED' && isComplete('reverse')) return 'reverse';
    return state === 'PAUSED' && othersWork(session) ? 'standDown' : undefined;
  }
}

/** Whether another instance is at work, or would be if this one left it the migration. */
export function othersWork({ crew }: Session): boolean {
  return crew.living.some(({ record }) => record?.isPaused === false);
}
