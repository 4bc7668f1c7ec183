import type { Context } from './context.ts';

/** One command: how it is typed, and where its code is. The code is loaded when the command runs, not before. */
export interface Command {
  /** `gitlab connect` */
  readonly path: string;
  /** Arguments as commander spells them. */
  readonly args?: string;
  readonly help: string;
  /** It writes autogit.yml: one that is no good must not keep it from that. */
  readonly ignoresFile?: boolean;
  /** It talks to people alone: `--json` would be ignored, so it is refused. */
  readonly hasNoJson?: boolean;
  /** Completes with the exit code. */
  run(context: Context): Promise<number>;
}
