/** Reads of views: the primary shard tells what a view stands for, and the read becomes an aggregation of that. */
import { collectionOf, databaseOf } from './catalog.js';
import { Command } from './command.js';
import type { ShardError } from './errors.js';
import { doc, type Encodable, fieldsOf, itemsOf, textOf } from './raw-values.js';

const COMMAND_ON_SHARDED_VIEW = 169;

/** Whether a shard says that the collection is a view, and of what. */
export function isView(error: ShardError): boolean {
  return error.code === COMMAND_ON_SHARDED_VIEW && error.answer.has('resolvedView');
}

/** The aggregation that a read of a view comes to. */
export function onView(command: Command, { answer }: ShardError): Command {
  const view = fieldsOf(answer.get('resolvedView')?.bytes ?? Buffer.alloc(5));
  const ns = textOf(view.get('ns')) ?? '';
  const pipeline = [...itemsOf(view.get('pipeline')), ...stagesOf(command)];
  const generic = new Map([...command.fields].filter(([name]) => !command.body().has(name)));
  const batchSize = command.get('batchSize');
  return Command.made(
    { aggregate: collectionOf(ns), pipeline, cursor: batchSize === undefined ? {} : { batchSize } },
    generic,
    { $db: databaseOf(ns), collation: view.get('collation') ?? { locale: 'simple' } },
  );
}

function stagesOf(command: Command): Encodable[] {
  if (command.name === 'aggregate') return itemsOf(command.get('pipeline'));
  const stages: Encodable[] = [];
  const stage = (name: string, value: Encodable): number => (value === undefined ? 0 : stages.push({ [name]: value }));
  stage('$match', command.get('filter') ?? command.get('query'));
  stage('$sort', nonEmpty(command.document('sort')));
  stage('$skip', command.number('skip') || undefined);
  stage('$limit', Math.abs(command.number('limit')) || undefined);
  stage('$project', nonEmpty(command.document('projection')));
  if (command.name === 'count') stage('$count', 'count');
  if (command.name === 'distinct') {
    const path = `$${command.text('key')}`;
    stages.push(doc({ $unwind: path }), doc({ $group: { _id: null, values: { $addToSet: path } } }));
  }
  return stages;
}

function nonEmpty(document: Buffer | undefined): Buffer | undefined {
  return document !== undefined && document.length > 5 ? document : undefined;
}
