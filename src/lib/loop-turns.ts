/**
 * Gives turns of the event loop to work that holds it up: one piece in each, however many wait. Between two of them timers
 * run and signals are heard, so that the loop is never held up for longer than one piece takes.
 */
export class LoopTurns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves in a turn in which no other piece is begun. */
  next(): Promise<void> {
    const turn = this.#last.then(() => new Promise<void>((resolve) => void setImmediate(resolve)));
    this.#last = turn;
    return turn;
  }
}
