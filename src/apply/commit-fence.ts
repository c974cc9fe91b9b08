/** Tells the pipeline the commit time: events after it are judged and no longer applied. */
import type { Timestamp } from '../bson/bson.js';

/** Set once, by the commit; whoever reads documents again or dispatches events asks for it. */
export class CommitFence {
  #time: Timestamp | undefined;

  /** `time`: undefined until a commit has taken one. */
  constructor(time: Timestamp | undefined) {
    this.#time = time;
  }

  get time(): Timestamp | undefined {
    return this.#time;
  }

  set(time: Timestamp): void {
    this.#time = time;
  }
}
