/** A client's command, as the router double reads it. */

import type { Message } from './messages.js';
import {
  type Doc,
  doc,
  documentOf,
  documentsOf,
  type Fields,
  isTrue,
  numberOf,
  type Part,
  type RawValue,
  rawValue,
  textOf,
} from './raw-values.js';
import { refused } from './refusals.js';

/** What may stand in any command: it is sent on in the router's own words, not as part of the command. */
const GENERIC: ReadonlySet<string> = new Set([
  '$db',
  '$clusterTime',
  '$readPreference',
  'lsid',
  'txnNumber',
  'autocommit',
  'startTransaction',
  'readConcern',
  'writeConcern',
  'maxTimeMS',
  'apiVersion',
  'apiStrict',
  'apiDeprecationErrors',
  '$audit',
  '$client',
  '$configTime',
  '$topologyTime',
  'mayBypassWriteBlocking',
  'comment',
  'stmtId',
  'stmtIds',
  'cursor',
]);

/** A command's fields, and the documents that came beside it. */
export class Command {
  readonly name: string;
  readonly db: string;

  constructor(
    readonly fields: Fields,
    readonly sequences: ReadonlyMap<string, Buffer[]> = new Map(),
  ) {
    const [name = ''] = fields.keys();
    this.name = name;
    this.db = textOf(fields.get('$db')) ?? '';
  }

  /** Of a message. */
  static of({ fields, sequences }: Message): Command {
    return new Command(fields, sequences);
  }

  /** A command of the router's own, or this one under other fields. */
  static made(...parts: readonly Part[]): Command {
    return new Command(new Map([...doc(...parts)].map(([name, value]) => [name, rawValue(value)])));
  }

  /** The value of the command's own field. */
  get target(): RawValue {
    return this.fields.get(this.name) as RawValue;
  }

  /** The collection that the command's own field names. Errors: InvalidNamespace (73) if it is no text. */
  get collection(): string {
    const name = textOf(this.target);
    if (name === undefined) throw refused('findByUuid');
    return name;
  }

  /** `<db>.<collection>`. Errors: as {@link collection}. */
  get ns(): string {
    return `${this.db}.${this.collection}`;
  }

  /** Whether the command is a statement of a transaction of several. */
  get inTransaction(): boolean {
    return this.has('autocommit') && !this.flag('autocommit');
  }

  has(name: string): boolean {
    return this.fields.has(name);
  }

  get(name: string): RawValue | undefined {
    return this.fields.get(name);
  }

  flag(name: string): boolean {
    return isTrue(this.fields.get(name));
  }

  /** 0 where there is none. */
  number(name: string): number {
    return numberOf(this.fields.get(name)) ?? 0;
  }

  text(name: string): string | undefined {
    return textOf(this.fields.get(name));
  }

  document(name: string): Buffer | undefined {
    return documentOf(this.fields.get(name));
  }

  /** Of an array, or of a sequence beside the command. */
  documents(name: string): Buffer[] {
    return this.sequences.get(name) ?? documentsOf(this.fields.get(name));
  }

  /** These of the fields, where they are. */
  some(...names: readonly string[]): Doc {
    return new Map([...this.fields].filter(([name]) => names.includes(name)));
  }

  /** The command's own fields, without those that any command may have. */
  body(...without: readonly string[]): Doc {
    return new Map([...this.fields].filter(([name]) => !GENERIC.has(name) && !without.includes(name)));
  }

  /** As {@link body}, without the command's name. */
  options(...without: readonly string[]): Doc {
    return this.body(this.name, ...without);
  }

  /** The same command with other values of these fields. */
  with(parts: Part): Command {
    const changed = [...doc(this.fields, parts)].map(([name, value]) => [name, rawValue(value)] as const);
    return new Command(new Map(changed), this.sequences);
  }

  /** Names that the router does not take for fields of any command. */
  ownNames(): string[] {
    return [...this.fields.keys()].filter((name) => !GENERIC.has(name) && name !== this.name);
  }
}
