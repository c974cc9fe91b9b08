/** Declares the commands and flags of the command line, and runs one of them. */
import { Command, CommanderError, Option } from 'commander';
import { FLAGS, type Flag, type FlagName } from '../config/flags.js';
import { releaseSignals } from '../lib/process-signals.js';
import { VERSION } from '../version.js';
import { normaliseBooleans } from './boolean-flags.js';
import type { ClientOptions } from './client.js';
import { addClientFlags, readClientOptions } from './client-options.js';
import { closestWord } from './closest-word.js';
import {
  runCheck,
  runCommit,
  runMismatches,
  runPause,
  runRepair,
  runResume,
  runReverse,
  runStart,
} from './commands.js';
import { CliExit } from './exit-codes.js';
import type { Io } from './io.js';
import { reportError } from './report.js';
import { START_FLAGS, type StartFlag, VERIFY_FLAGS } from './start-flags.js';
import { runProgress } from './watch.js';

type Values = Record<string, unknown>;
type Action = (values: Values, io: Io) => Promise<number>;

/**
 * Runs one command line and resolves with the process's exit code: the server's for `serve`, else 0 done, 1 refused or
 * failed, 2 usage, 3 unreachable. Rejects only for a bug. Source: docs/cli.md.
 */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  let exitCode: number = CliExit.ok;
  const run = (action: Action) => async (values: Values) => {
    exitCode = await action(values, io);
  };
  try {
    await buildProgram(io, run).parseAsync(normaliseBooleans(argv, BOOLEAN_FLAGS), { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? CliExit.ok : CliExit.usage;
    return reportError(error, io, 'text');
  }
  return exitCode;
}

const BOOLEAN_FLAGS: ReadonlySet<string> = new Set(
  [...[...FLAGS, ...START_FLAGS].filter(({ kind }) => kind === 'boolean').map(({ name }) => name), 'tls'].map(
    (name) => `--${name}`,
  ),
);

function buildProgram(io: Io, run: Run): Command {
  const program = new Command('mongoferry')
    .description('Migrates one live MongoDB cluster to another. Without a command it runs the server.')
    .version(VERSION, '-v, --version')
    .enablePositionalOptions()
    .helpCommand('help [COMMAND]', 'show this list, or what a command takes')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .allowExcessArguments(true)
    .action(async (values: Values, command: Command) => {
      const [word] = command.args;
      if (word !== undefined) command.error(unknownCommand(word, program));
      await run(serve)(values);
    });
  addServerCommands(program, run);
  addClientCommands(program, run);
  return program;
}

type Run = (action: Action) => (values: Values) => Promise<void>;

/** What runs with the server's options: the server, and what talks to the clusters by itself. */
function addServerCommands(program: Command, run: Run): void {
  addServerFlags(program);
  addServerFlags(subcommand(program, 'serve', 'run the server (also what happens without a command)')).action(
    // A unit file may name the flags before the command.
    async (values: Values) => await run(serve)({ ...program.opts(), ...values }),
  );
  const verifying = subcommand(
    program,
    'verify',
    'compare cluster0 with cluster1, without a migration; writes to neither',
  ).option('--follow', 'follow changes until SIGINT or SIGTERM says that writes have stopped');
  addServerFlags(addRequestFlags(verifying, VERIFY_FLAGS), ['cluster0', 'cluster1', 'config', 'loadLevel']).action(
    async (values: Values) => await run(verify)({ ...program.opts(), ...values }),
  );
  const cleaning = subcommand(
    program,
    'cleanup',
    'drop what a committed migration has stored on the destination; it cannot be reversed afterwards',
  ).option('--yes', 'do not ask');
  addServerFlags(cleaning, ['cluster0', 'cluster1', 'config', 'migrationName']).action(
    async (values: Values) => await run(cleanup)({ ...program.opts(), ...values }),
  );
}

/** What talks to a server. */
function addClientCommands(program: Command, run: Run): void {
  const client = (name: string, help: string) => addClientFlags(subcommand(program, name, help));
  addStartFlags(client('check', 'examine both clusters for what would stop a migration; changes nothing')).action(
    run(clientAction(program, runCheck)),
  );
  addStartFlags(client('start', 'begin the migration')).action(run(clientAction(program, runStart)));
  client('progress', 'show the progress of the migration')
    .option('--watch', 'follow it until it is committed')
    .action(run(clientAction(program, runProgress)));
  client('pause', 'stop reading and writing, keeping all progress').action(run(clientAction(program, runPause)));
  client('resume', 'go on after a pause').action(run(clientAction(program, runResume)));
  client('commit', 'apply what is left and hand the destination over')
    .option('--when-ready', 'wait until a commit is permitted, then commit')
    .option('--wait', 'wait until it is committed')
    .action(run(clientAction(program, runCommit)));
  client('reverse', 'reverse a committed, reversible migration')
    .option('--wait', 'wait until it runs in the other direction')
    .action(run(clientAction(program, runReverse)));
  client('mismatches', 'list the documents that differ, a JSON object per line').action(
    run(clientAction(program, runMismatches)),
  );
  client('repair', 'copy documents that differ from the source again')
    .option('--id <ID...>', 'only these, by the id that mismatches tells; default: all')
    .action(run(clientAction(program, runRepair)));
}

function unknownCommand(word: string, program: Command): string {
  const meant = closestWord(
    word,
    program.commands.map((each) => each.name()),
  );
  const hint = meant === undefined ? 'see mongoferry help' : `did you mean ${meant}?`;
  return `error: unknown command '${word}'; ${hint}`;
}

function subcommand(program: Command, name: string, help: string): Command {
  return program.command(name).description(help).allowExcessArguments(false);
}

/** The server's parts are loaded only when it runs: client commands should answer at once. */
const serve: Action = async (values, io) => {
  const { runServe } = await import('./serve.js');
  return await runServe(values, io);
};

const verify: Action = async (values, io) => {
  releaseSignals();
  const { runVerify } = await import('./verify.js');
  return await runVerify(values, io);
};

const cleanup: Action = async (values, io) => {
  releaseSignals();
  const { runCleanup } = await import('./cleanup.js');
  return await runCleanup(values, io);
};

type ClientCommand = (options: ClientOptions, values: Values, io: Io) => Promise<number>;

/** `program`: its own flags may stand before the command. */
function clientAction(program: Command, command: ClientCommand): Action {
  return async (given, io) => {
    releaseSignals();
    let output: ClientOptions['output'] = given['output'] === 'json' ? 'json' : 'text';
    try {
      const { options, values } = readClientOptions(given, program.opts(), io);
      output = options.output;
      return await command(options, values, io);
    } catch (error) {
      return reportError(error, io, output);
    }
  };
}

/** `shown`: those that matter to the command. All are taken, so that one file or unit serves all commands. */
function addServerFlags(command: Command, shown?: readonly FlagName[]): Command {
  for (const flag of FLAGS) {
    const option = optionOf(flag);
    command.addOption(shown === undefined || shown.includes(flag.name) ? option : option.hideHelp());
  }
  return command;
}

function addStartFlags(command: Command): Command {
  return addRequestFlags(command, START_FLAGS);
}

function addRequestFlags(command: Command, flags: readonly StartFlag[]): Command {
  for (const flag of flags) command.addOption(optionOf(flag));
  command.option('--include <NAMESPACE...>', 'migrate only these: a database or DATABASE.COLLECTION each');
  command.option('--exclude <NAMESPACE...>', 'do not migrate these: a database or DATABASE.COLLECTION each');
  return command.option(
    '--file <FILE>',
    'JSON request as for POST /api/v1/start, "-" for standard input; flags replace its fields',
  );
}

function optionOf({
  name,
  kind,
  argument,
  help,
  repeatable,
}: Pick<Flag, 'name' | 'help' | 'argument' | 'repeatable'> & { readonly kind: string }): Option {
  if (kind === 'boolean') return new Option(`--${name} [BOOL]`, help);
  const option = new Option(`--${name} <${argument ?? 'VALUE'}>`, help);
  return repeatable === true ? option.argParser(collect) : option;
}

function collect(value: string, previous: unknown): readonly unknown[] {
  return Array.isArray(previous) ? [...(previous as unknown[]), value] : [value];
}
