/**
 * Gives turns of the event loop to work that holds it up: one piece in each, however many wait. Between two of them timers
 * run and signals are heard, so that the loop is never held up for longer than one piece takes.
 *
 * While a call is answered (`hurry`), a turn without a piece lies between two: an answer by gRPC is made in one turn and sent
 * in the next, and would wait for a piece in each. All the time that would cost a copy some per cent.
 */
export class LoopTurns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves in a turn in which no other piece is begun. */
  next(): Promise<void> {
    const turn = this.#last.then(async () => {
      await nextTurn();
      if (hurried > 0) await nextTurn();
    });
    this.#last = turn;
    return turn;
  }
}

/** How many hurry, in this thread. */
let hurried = 0;

/** Work leaves every other turn free from now on, in this thread, until the function is called that is returned. */
export function hurry(): () => void {
  hurried++;
  let isOver = false;
  return () => {
    if (!isOver) hurried--;
    isOver = true;
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
