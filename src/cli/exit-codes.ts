/** Names the exit codes of the client commands (docs/cli.md). The server's are ExitCode of errors.ts. */
export const CliExit = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const;
