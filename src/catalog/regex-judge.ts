/** Asks the server whether a name matches a regular expression. */
import type { Doc } from '../bson/bson.js';
import type { Cluster } from '../cluster/cluster.js';
import { codeOf } from '../cluster/errors.js';
import { AppError } from '../errors.js';

/** A regular expression as MongoDB's $regex takes it. */
export interface RegexPattern {
  readonly pattern: string;
  readonly options: string;
}

/** Texts of one command: their total stays far below 16 MB. */
const TEXTS_PER_COMMAND = 2000;
const MAX_REMEMBERED = 500_000;

/**
 * Decides regular expressions on names as the server does: JavaScript's differ from MongoDB's (PCRE) in inline options,
 * possessive quantifiers, `\A`, POSIX classes, the option x, and what is a character. What was decided is remembered.
 *
 * The source is asked, which also filters its change stream by the same patterns: both must be of one mind. A document
 * to compute on comes from `$currentOp`, which shows at least this very command, and needs no privilege for one's own
 * operations (tried on 4.4.2, 5.0.4, 6.0.5 and 6.0.27; `$documents` is not for users before 5.1).
 */
export class RegexJudge {
  readonly #source: Cluster;
  /** By pattern, then by name. */
  readonly #known = new Map<string, Map<string, boolean>>();

  constructor(source: Cluster) {
    this.#source = source;
  }

  async matches(regex: RegexPattern, text: string, signal: AbortSignal): Promise<boolean> {
    await this.learn(regex, [text], signal);
    return this.#knownOf(regex).get(text) === true;
  }

  /**
   * Decides many texts at once, for `matches` to answer from memory. Errors: UnsupportedChange when the server gives up
   * on the expression for one of them.
   */
  async learn(regex: RegexPattern, texts: Iterable<string>, signal: AbortSignal): Promise<void> {
    const known = this.#knownOf(regex);
    const unknown = [...new Set(texts)].filter((text) => !known.has(text));
    // Names of dropped collections would pile up in a migration of weeks.
    if (unknown.length > 0 && known.size > MAX_REMEMBERED) known.clear();
    for (let from = 0; from < unknown.length; from += TEXTS_PER_COMMAND) {
      const slice = unknown.slice(from, from + TEXTS_PER_COMMAND);
      const results = await this.#ask(regex, slice, signal).catch((error: unknown) => tooComplex(regex, error));
      for (const [index, text] of slice.entries()) known.set(text, results[index] === true);
    }
  }

  #knownOf({ pattern, options }: RegexPattern): Map<string, boolean> {
    const key = `${options}/${pattern}`;
    const known = this.#known.get(key) ?? new Map<string, boolean>();
    this.#known.set(key, known);
    return known;
  }

  /** What the server has against a pattern, or undefined. */
  async refusal(regex: RegexPattern, signal: AbortSignal): Promise<string | undefined> {
    try {
      await this.#ask(regex, ['name'], signal);
      return undefined;
    } catch (error) {
      if (codeOf(error) !== INVALID_REGEX || !(error instanceof Error)) throw error;
      return error.message.replace(/^.*\$regexMatch: */s, '');
    }
  }

  async #ask(regex: RegexPattern, texts: readonly string[], signal: AbortSignal): Promise<readonly boolean[]> {
    const each = { $map: { input: { $literal: texts }, in: regexExpression('$$this', regex) } };
    const pipeline = [
      { $currentOp: { allUsers: false, localOps: true } },
      { $limit: 1 },
      { $project: { _id: 0, results: each } },
    ];
    const command = { aggregate: 1, pipeline, cursor: {} };
    const reply = await this.#source.read('matching names', 'admin', command, signal);
    return (reply['cursor'] as { firstBatch: [{ results: boolean[] }] }).firstBatch[0].results;
  }
}

const INVALID_REGEX = 51111;
const REGEX_FAILED = 51156;

/** A pattern that backtracks without end is refused for the names at which it does so. */
function tooComplex({ pattern }: RegexPattern, error: unknown): never {
  if (codeOf(error) !== REGEX_FAILED) throw error;
  throw new AppError(
    'UnsupportedChange',
    `the server gives up on the regular expression ${pattern} for one of the names on the source. Start with one that needs less backtracking`,
    { cause: error },
  );
}

/** An aggregation expression that is true when a text matches. */
export function regexExpression(input: string, { pattern, options }: RegexPattern): Doc {
  return { $regexMatch: { input, regex: { $literal: pattern }, options: { $literal: options } } };
}
