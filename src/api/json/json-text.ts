/** Parses JSON text strictly: no value of a request is lost silently. */
import type { JsonValue } from '@bufbuild/protobuf';
import type { FieldViolation } from '../../errors.js';
import { MAX_VALUES } from '../limits.js';
import { memberPath, Violations } from '../violations.js';

/** Deeper nesting than any request has; keeps hostile bodies off the stack and under the decoders' own limits. */
const MAX_DEPTH = 30;

/** A parsed text, with what is wrong in it although it could be read. */
export interface ParsedJson {
  readonly value: JsonValue;
  readonly violations: readonly FieldViolation[];
}

/** A text that is not JSON. The message names the place, and quotes nothing of the text. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError';
}

/**
 * Parses JSON as RFC 8259 has it, with one thing more and two things less: a comma before a closing bracket is
 * accepted, since the request bodies of mongosync's documentation have them; a name that stands twice in one object,
 * and the name `__proto__`, are violations, since one of two values would be lost silently. Violations name the field
 * beneath `path`.
 *
 * Errors: JsonSyntaxError, also for more values than any request has. Source: docs/api.md.
 */
export function parseJsonText(text: string, violations = new Violations(), path = ''): ParsedJson {
  return new Parser(text, violations).parse(path);
}

class Parser {
  readonly #text: string;
  readonly #violations: Violations;
  #at = 0;
  #values = 0;

  constructor(text: string, violations: Violations) {
    this.#text = text;
    this.#violations = violations;
  }

  parse(path: string): ParsedJson {
    const value = this.#value(path, 0);
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#fail('there is text after the end of the value');
    return { value, violations: this.#violations.all };
  }

  #value(path: string, depth: number): JsonValue {
    if (depth > MAX_DEPTH) this.#fail(`it is nested deeper than ${MAX_DEPTH} levels`);
    if (++this.#values > MAX_VALUES) this.#fail(`it holds more than ${MAX_VALUES} values`);
    this.#skipSpace();
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(path, depth);
      case '[':
        return this.#array(path, depth);
      case '"':
        return this.#string();
      case undefined:
        return this.#fail('it ends too early');
      default:
        return this.#literalOrNumber();
    }
  }

  #object(path: string, depth: number): JsonValue {
    const members: Record<string, JsonValue> = {};
    this.#at++;
    while (!this.#closes('}')) {
      if (this.#text[this.#at] !== '"') this.#fail('a name in double quotes is expected');
      const name = this.#string();
      const field = memberPath(path, name);
      this.#skipSpace();
      if (this.#text[this.#at] !== ':') this.#fail('":" is expected');
      this.#at++;
      const value = this.#value(field, depth + 1);
      if (name === '__proto__') this.#violations.add(field, 'is not a permitted name');
      else if (Object.hasOwn(members, name)) this.#violations.add(field, 'is given more than once');
      else members[name] = value;
      this.#separator('}');
    }
    this.#at++;
    return members;
  }

  #array(path: string, depth: number): JsonValue {
    const items: JsonValue[] = [];
    this.#at++;
    while (!this.#closes(']')) {
      items.push(this.#value(`${path}[${items.length}]`, depth + 1));
      this.#separator(']');
    }
    this.#at++;
    return items;
  }

  #closes(bracket: string): boolean {
    this.#skipSpace();
    return this.#text[this.#at] === bracket;
  }

  /** After a value: a comma, which may also be the last one, or the closing bracket (left for the caller). */
  #separator(bracket: string): void {
    this.#skipSpace();
    if (this.#text[this.#at] === ',') this.#at++;
    else if (this.#text[this.#at] !== bracket) this.#fail(`"," or "${bracket}" is expected`);
  }

  #string(): string {
    const start = this.#at++;
    for (; this.#text[this.#at] !== '"'; this.#at++) {
      const char = this.#text[this.#at];
      if (char === undefined) this.#fail('a string is not closed');
      if (char < ' ') this.#fail('a string holds a control character');
      if (char === '\\') this.#at++;
    }
    this.#at++;
    const string = this.#unescape(this.#text.slice(start, this.#at));
    if (/\p{Surrogate}/u.test(string)) this.#fail('a string holds half of a surrogate pair');
    return string;
  }

  #unescape(literal: string): string {
    try {
      return JSON.parse(literal) as string;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return this.#fail('a string holds an escape that JSON does not have');
    }
  }

  #literalOrNumber(): JsonValue {
    const [word] = /^[-+.\w]+/.exec(this.#text.slice(this.#at, this.#at + 400)) ?? [''];
    if (word === 'true' || word === 'false' || word === 'null') {
      this.#at += word.length;
      return word === 'null' ? null : word === 'true';
    }
    if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(word)) this.#fail('a value is expected');
    const number = Number(word);
    if (!Number.isFinite(number)) this.#fail('a number is too large');
    this.#at += word.length;
    return number;
  }

  #skipSpace(): void {
    for (;;) {
      const char = this.#text[this.#at];
      if (char !== ' ' && char !== '\n' && char !== '\r' && char !== '\t') return;
      this.#at++;
    }
  }

  #fail(problem: string): never {
    let line = 1;
    let start = 0;
    for (let at = this.#text.indexOf('\n'); at >= 0 && at < this.#at; at = this.#text.indexOf('\n', start)) {
      line++;
      start = at + 1;
    }
    const column = this.#at - start + 1;
    throw new JsonSyntaxError(`the body is not valid JSON: ${problem}, at line ${line}, column ${column}`);
  }
}
