/** Reads option values from the command line, the environment and the YAML file. */
import { LineCounter, parseDocument } from 'yaml';
import type { FieldViolation } from '../errors.js';
import { envNameOf, FLAGS_BY_NAME } from './flags.js';

/** A value as it was given, and where: for messages. */
export interface RawValue {
  readonly value: unknown;
  /** As in `--port`, `MONGOFERRY_PORT`, `port in /etc/m.yaml`. */
  readonly origin: string;
}

/** The values of one source by the option's name, and what was wrong or odd in it. */
export interface SourceValues {
  readonly values: Map<string, RawValue>;
  readonly violations: FieldViolation[];
  readonly warnings: string[];
}

/** Reads a whole text file; throws when it cannot. */
export type ReadFile = (path: string) => string;

/** What the command line said; `undefined` values were not given. Names are checked by the command line's own parser. */
export function fromFlags(flags: Readonly<Record<string, unknown>>): SourceValues {
  const source = emptySource();
  for (const [name, value] of Object.entries(flags)) {
    if (value !== undefined && FLAGS_BY_NAME.has(name)) source.values.set(name, { value, origin: `--${name}` });
  }
  return source;
}

/** Characters of a configuration file; the parser takes minutes for some megabytes. */
const MAX_FILE = 256 * 1024;
const PREFIX = 'MONGOFERRY_';
/** Variables of the client commands, and of the tests and benches. */
const OTHER_VARIABLES = /^MONGOFERRY_(TARGET|OUTPUT|TLS|(TEST|BENCH|DEMO)_.*)$/;

/**
 * `MONGOFERRY_<NAME>`, and for secrets `MONGOFERRY_<NAME>_FILE`, whose file's content (less the last newline) is the
 * value. Empty variables count as not set, as container tools set them.
 */
export function fromEnvironment(env: NodeJS.ProcessEnv, readFile: ReadFile): SourceValues {
  const source = emptySource();
  const known = new Set<string>();
  for (const flag of FLAGS_BY_NAME.values()) {
    for (const variable of new Set([envNameOf(flag.name), `${PREFIX}${flag.name.toUpperCase()}`])) {
      known.add(variable);
      const value = env[variable];
      if (value !== undefined && value !== '') source.values.set(flag.name, { value, origin: variable });
      if (flag.secret === undefined) continue;
      known.add(`${variable}_FILE`);
      readSecretFile(source, flag.name, `${variable}_FILE`, env, readFile);
    }
  }
  for (const [variable, value] of Object.entries(env)) {
    if (variable.startsWith(PREFIX) && value !== '' && !known.has(variable) && !OTHER_VARIABLES.test(variable)) {
      source.warnings.push(`the environment variable ${variable} is not an option of mongoferry and is ignored`);
    }
  }
  return source;
}

function readSecretFile(
  source: SourceValues,
  name: string,
  variable: string,
  env: NodeJS.ProcessEnv,
  readFile: ReadFile,
): void {
  const path = env[variable];
  if (path === undefined || path === '') return;
  const other = source.values.get(name);
  if (other !== undefined) {
    source.violations.push({ field: name, description: `is given twice: by ${other.origin} and by ${variable}` });
    return;
  }
  try {
    source.values.set(name, { value: readFile(path).replace(/\r?\n$/, ''), origin: variable });
  } catch (error) {
    source.violations.push({ field: name, description: `${variable}: ${fileProblem(path, error)}` });
  }
}

/**
 * The YAML file of `--config`: a mapping of option names. Keys that are no options are reported as warnings, since a
 * file may have been written for another version of mongosync. Messages never quote the file, which may hold passwords.
 */
export function fromYaml(path: string, readFile: ReadFile): SourceValues {
  const source = emptySource();
  const refuse = (description: string): SourceValues => {
    source.violations.push({ field: 'config', description });
    return source;
  };
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    return refuse(fileProblem(path, error));
  }
  if (text.length > MAX_FILE) return refuse(`${path} is larger than ${MAX_FILE / 1024} KiB; is it the right file?`);
  const parsed = parseYaml(text);
  if (typeof parsed === 'string') return refuse(`${path}: ${parsed}`);
  for (const [name, value] of parsed) {
    if (FLAGS_BY_NAME.has(name) && name !== 'config') {
      if (value !== null && value !== undefined) source.values.set(name, { value, origin: `${name} in ${path}` });
    } else {
      source.warnings.push(`the key "${name}" in ${path} is not an option of mongoferry and is ignored`);
    }
  }
  return source;
}

/** The top-level entries, or what is wrong with the text. */
function parseYaml(text: string): [string, unknown][] | string {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const error = document.errors[0];
  if (error !== undefined) {
    const { line, col } = lines.linePos(error.pos[0]);
    return `is not valid YAML (${error.code} at line ${line}, column ${col})`;
  }
  let value: unknown;
  try {
    value = document.toJS();
  } catch {
    return 'is not valid YAML (an alias in it refers to nothing; quote values that begin with "*")';
  }
  if (value === null || value === undefined) return [];
  if (typeof value !== 'object' || Array.isArray(value)) return 'must hold a mapping of option names to values';
  return Object.entries(value);
}

function fileProblem(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
  return `cannot read ${path} (${code})`;
}

function emptySource(): SourceValues {
  return { values: new Map(), violations: [], warnings: [] };
}
