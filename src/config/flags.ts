/** Lists every option of the server process: its name, form, help text and default. */

/** What a value must look like. `any` is for flags that are accepted and ignored. */
export type FlagKind = 'text' | 'integer' | 'boolean' | 'any';

/** One process option: a flag, a key of the YAML file and an environment variable, all of one name. */
export interface Flag {
  readonly name: string;
  readonly kind: FlagKind;
  /** The argument's name in `--help`; booleans have none. */
  readonly argument?: string;
  readonly help: string;
  /** May also be read from the file that `MONGOFERRY_<NAME>_FILE` names. */
  readonly secret?: true;
  /** May be given several times. */
  readonly repeatable?: true;
  /** Why a flag of mongosync is accepted without effect. */
  readonly ignored?: string;
  /** Of mongosync's that its reference does not name: tools give it all the same, and are warned. */
  readonly undocumented?: true;
}

/** Every option of the server process, in the order of `--help`. Names are mongosync's where it has the same one. */
export const FLAGS = [
  { name: 'cluster0', kind: 'text', argument: 'URI', secret: true, help: 'connection string of the first cluster' },
  { name: 'cluster1', kind: 'text', argument: 'URI', secret: true, help: 'connection string of the second cluster' },
  { name: 'config', kind: 'text', argument: 'FILE', help: 'YAML file with any of these options' },
  {
    name: 'id',
    kind: 'text',
    argument: 'ID',
    help: "this instance's name in logs and progress (default: coordinator)",
  },
  {
    name: 'coordinated',
    kind: 'boolean',
    help: 'of several instances: a call to this one counts for all of them',
  },
  {
    name: 'migrationName',
    kind: 'text',
    argument: 'NAME',
    help: 'letters, digits and _, at most 44: for several migrations into one cluster',
  },
  { name: 'loadLevel', kind: 'integer', argument: 'LEVEL', help: 'load put on the clusters, 1 to 4 (default: 3)' },
  {
    name: 'workerThreads',
    kind: 'integer',
    argument: 'N',
    help: 'threads that copy and apply, each with its own connections, 0 to 16; 0 = the main thread does both (default: 0)',
  },
  { name: 'port', kind: 'integer', argument: 'PORT', help: 'HTTP port; 0 = any free one (default: 27182)' },
  {
    name: 'grpcPort',
    kind: 'integer',
    argument: 'PORT',
    help: 'gRPC port; 0 = any free one (default: 27183, or a free one where that may be needed)',
  },
  { name: 'bindIp', kind: 'text', argument: 'ADDRESS', help: 'address to listen on (default: 127.0.0.1)' },
  {
    name: 'allowInsecure',
    kind: 'boolean',
    help: 'listen beyond loopback without TLS, or without anything that authenticates the callers',
  },
  {
    name: 'logPath',
    kind: 'text',
    argument: 'DIR',
    help: 'write mongosync.log there, with rotation (default: standard output)',
  },
  {
    name: 'verbosity',
    kind: 'text',
    argument: 'LEVEL',
    help: 'TRACE, DEBUG, INFO, WARN, ERROR, FATAL or PANIC, or -1 to 5 for the same (default: DEBUG)',
  },
  { name: 'disableVerification', kind: 'boolean', help: 'do not verify, whatever start says' },
  { name: 'stayUpOnFailure', kind: 'boolean', help: 'keep answering after the migration has failed for good' },
  {
    name: 'otlpEndpoint',
    kind: 'text',
    argument: 'URL',
    help: 'send traces and metrics to this OpenTelemetry collector (OTLP over HTTP)',
  },
  {
    name: 'tlsMode',
    kind: 'text',
    argument: 'MODE',
    help: 'disabled or requireTLS, for both doors (default: requireTLS if there is a certificate)',
  },
  {
    name: 'tlsCertificateKeyFile',
    kind: 'text',
    argument: 'FILE',
    help: "PEM with the doors' certificate and its private key",
  },
  {
    name: 'tlsCAFile',
    kind: 'text',
    argument: 'FILE',
    help: 'PEM with the authorities of client certificates, which every caller must have then',
  },
  { name: 'authTokenFile', kind: 'text', argument: 'FILE', help: 'file with the token that every call must bring' },
  {
    name: 'allowedHosts',
    kind: 'text',
    argument: 'NAMES',
    help: 'names by which the HTTP door may be addressed, besides loopback; separated by commas',
  },
  {
    name: 'acceptDisclaimer',
    kind: 'boolean',
    help: 'accepted, no effect',
    ignored: 'there is no disclaimer to accept',
  },
  {
    name: 'disableTelemetry',
    kind: 'boolean',
    help: 'accepted, no effect',
    ignored: 'nothing is sent unless otlpEndpoint or OTEL_EXPORTER_OTLP_ENDPOINT is set',
  },
  {
    name: 'metricsLoggingFilepath',
    kind: 'text',
    argument: 'DIR',
    help: 'write the metrics to mongosync_metrics.log there every 30 s (default: only on /metrics)',
  },
  { name: 'disableMetricsLogging', kind: 'boolean', help: 'write no metrics, whatever metricsLoggingFilepath says' },
  {
    name: 'enableCappedCollectionHandling',
    kind: 'boolean',
    help: 'accepted, no effect',
    ignored: 'capped collections are always handled',
  },
  {
    name: 'createIndexesBatchSize',
    kind: 'any',
    argument: 'N',
    help: 'accepted, no effect',
    ignored: 'all indexes of a collection are built in one pass',
  },
  {
    name: 'hotDocIDs',
    kind: 'any',
    argument: 'EJSON',
    repeatable: true,
    help: 'accepted, no effect; may be given several times',
    ignored: 'changes of one document are always brought together',
  },
  {
    name: 'enableVerifierPersistence',
    kind: 'boolean',
    undocumented: true,
    help: 'accepted, no effect',
    ignored: 'the verifier always keeps its state on the destination',
  },
] as const satisfies readonly Flag[];

/** The names of all options. */
export type FlagName = (typeof FLAGS)[number]['name'];

/** The table by name, for the readers of files and environments; names are compared exactly. */
export const FLAGS_BY_NAME: ReadonlyMap<string, Flag> = new Map(FLAGS.map((flag) => [flag.name, flag]));

/** `MONGOFERRY_GRPC_PORT` for `grpcPort`, `MONGOFERRY_TLS_CA_FILE` for `tlsCAFile`. */
export function envNameOf(flagName: string): string {
  return `MONGOFERRY_${flagName.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})/g, '_').toUpperCase()}`;
}
