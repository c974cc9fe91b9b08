/** Gives shares of the changes to the instances that help. */
import type { ShareEnd, SharePlace, ShareTask } from '../apply/share.js';
import type { ShareTakers } from '../apply/stretches.js';
import type { Logger } from '../lib/logger.js';
import { see, seenBy } from '../threads/seen-times.js';
import type { Crew } from './crew.js';
import type { SeenWith } from './shared-range-copier.js';
import { HandedBack } from './task-board.js';

/** What shares are given out with. */
export interface SharedChangesParts {
  readonly crew: Crew;
  readonly pair: Parameters<typeof seenBy>[0];
  readonly logger: Logger;
}

/** Those that help the instance of `crew`. */
export function shareTakers({ crew, pair, logger }: SharedChangesParts): ShareTakers {
  return {
    names: () => crew.takersOf('apply'),
    countOwn: (events) => {
      crew.totalsOf(undefined).applied += events;
    },
    recall: (signal) => crew.recall(signal),
    apply: async (name, task, onPlace, signal) => {
      let counted = 0;
      const count = ({ events }: SharePlace): void => {
        crew.totalsOf(name).applied += events - counted;
        counted = events;
      };
      const placed = async (place: unknown): Promise<void> => {
        count(place as SharePlace);
        onPlace(place as SharePlace);
      };
      const sent: SeenWith<ShareTask> = { value: task, seen: seenBy(pair) };
      try {
        const heard = { counted: () => undefined, placed };
        const answer = (await crew.call(name, 'apply', sent, heard, signal)) as SeenWith<ShareEnd>;
        see(pair, answer.seen);
        count(answer.value);
        return answer.value;
      } catch (error) {
        if (!(error instanceof HandedBack)) throw error;
        logger.info(`The instance "${name}" gave its share of the changes back: ${error.message}`);
        return undefined;
      }
    },
  };
}
