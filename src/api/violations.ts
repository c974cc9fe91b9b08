/** Collects everything that is wrong with one request, so that one answer names all of it. */
import { type FieldViolation, invalidRequest, MAX_TOLD } from '../errors.js';

/** Characters of a path, beyond which it is not continued, and of one name in it. */
const MAX_PATH = 300;
const MAX_NAME = 100;

/** The path of a member of the thing at `path`. */
export function memberPath(path: string, name: string): string {
  if (path.length > MAX_PATH) return path;
  const short = name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}…` : name;
  return path === '' ? short : `${path}.${short}`;
}

/**
 * Collects what is wrong with one request. A field with a violation hides later ones at the same path and beneath it:
 * they follow from the first, as "is required" does from a value that had the wrong type.
 *
 * A caller decides how many there are, so only the first few are kept and compared with; the others are counted.
 */
export class Violations {
  readonly #found: FieldViolation[] = [];
  #more = 0;
  #last = '';

  constructor(earlier: readonly FieldViolation[] = []) {
    this.addAll(earlier);
  }

  /** Notes a violation of the field at `field`, as in `includeNamespaces[0].database`; "" is the request itself. */
  add(field: string, description: string): void {
    if (this.#found.some((known) => covers(known.field, field))) return;
    if (this.#found.length < MAX_TOLD) this.#found.push({ field, description });
    else if (!covers(this.#last, field)) {
      this.#more++;
      this.#last = field;
    }
  }

  /** Notes them all. */
  addAll(violations: readonly FieldViolation[]): void {
    for (const { field, description } of violations) this.add(field, description);
  }

  /** What is kept of it, in the order in which it was noted. */
  get all(): readonly FieldViolation[] {
    return this.#found;
  }

  /** How many there were besides. */
  get more(): number {
    return this.#more;
  }

  /** Throws InvalidRequest with everything noted, if anything was. */
  throwIfAny(): void {
    if (this.#found.length > 0) throw this.toError();
  }

  /** InvalidRequest with everything noted. Precondition: something was. */
  toError(): ReturnType<typeof invalidRequest> {
    return invalidRequest(this.#found, this.#more);
  }
}

function covers(known: string, field: string): boolean {
  if (known === '' || field === '') return false;
  if (!field.startsWith(known)) return false;
  const next = field[known.length];
  return next === undefined || next === '.' || next === '[';
}
