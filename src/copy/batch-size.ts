/** Chooses how many documents are read at a time: fewer after each interruption, more again without one. */

/** The smallest batches are this part of the wanted ones. */
const SMALLEST = 1 / 64;
const SHRINK = 4;
const GROW = 2;

/**
 * How many documents are read at a time. What is interrupted before it is done must be done again, so batches shrink
 * with every interruption, until they are done in between; and grow again while nothing interrupts them.
 */
export class BatchSize {
  readonly #wanted: number;
  #documents: number;

  constructor(wanted: number) {
    this.#wanted = wanted;
    this.#documents = wanted;
  }

  get documents(): number {
    return this.#documents;
  }

  interrupted(): void {
    this.#documents = Math.max(1, Math.ceil(this.#wanted * SMALLEST), Math.floor(this.#documents / SHRINK));
  }

  done(): void {
    this.#documents = Math.min(this.#wanted, this.#documents * GROW);
  }
}
