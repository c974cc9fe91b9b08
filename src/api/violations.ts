import { type FieldViolation, invalidRequest } from '../errors.js';

/** The path of a member of the thing at `path`. */
export function memberPath(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/**
 * Collects what is wrong with one request. A field with a violation hides later ones at the same path and beneath it:
 * they follow from the first, as "is required" does from a value that had the wrong type.
 */
export class Violations {
  readonly #found: FieldViolation[] = [];

  constructor(earlier: readonly FieldViolation[] = []) {
    this.addAll(earlier);
  }

  /** Notes a violation of the field at `field`, as in `includeNamespaces[0].database`; "" is the request itself. */
  add(field: string, description: string): void {
    if (!this.#found.some((known) => covers(known.field, field))) this.#found.push({ field, description });
  }

  /** Notes them all. */
  addAll(violations: readonly FieldViolation[]): void {
    for (const { field, description } of violations) this.add(field, description);
  }

  /** Everything noted, in the order in which it was. */
  get all(): readonly FieldViolation[] {
    return this.#found;
  }

  /** Throws InvalidRequest with everything noted, if anything was. */
  throwIfAny(): void {
    if (this.#found.length > 0) throw invalidRequest(this.#found);
  }
}

function covers(known: string, field: string): boolean {
  if (known === '' || field === '') return false;
  return known === field || field.startsWith(`${known}.`) || field.startsWith(`${known}[`);
}
