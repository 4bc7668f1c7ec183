import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import type { LogsApi } from '../local-api/agent-api.ts';
import { logFile } from '../log.ts';
import type { Network } from '../ports.ts';
import { tailOf } from '../support/log-tail.ts';
import { allLogs, logLinesAsked } from './all-logs.ts';
import type { TracePiece } from './ended-traces.ts';
import { ownLog, trace } from './logs.ts';
import type { Member } from './member.ts';

interface LogRequestsOptions {
  home: string;
  network: Network;
  wallMs(): number;
  /** Each throws while this machine is in no mesh. */
  member(): Member;
  ledger(): Ledger;
  nodeNamed(name: string): NodeId;
  askHolders(ask: Ask): Promise<Answer>;
}

/** ms in which another machine must answer. */
const askMs = 3_000;

/** Traces of jobs, and logs of this machine, another one, or all. */
export class LogRequests implements LogsApi {
  readonly #options: LogRequestsOptions;

  constructor(options: LogRequestsOptions) {
    this.#options = options;
  }

  async *logs(request: Parameters<LogsApi['logs']>[0], signal: AbortSignal): AsyncIterable<string> {
    const { home, network } = this.#options;
    if (request.job !== null) {
      const member = this.#options.member();
      const sources = {
        run: (job: number) => this.#runOf(job),
        self: network.self,
        own: (run: string, offset: number) => member.runs.traceOf(run, offset),
        ask: (node: NodeId, ask: Ask) => network.ask(node, ask, askMs),
        ended: (run: Run, offset: number) => this.#endedTrace(run, offset),
      };
      return yield* trace(request.job, request.follow, sources, signal);
    }
    if (request.all === true) {
      const sources = {
        machines: () => Object.entries(this.#options.ledger().nodes).map(([node, { name }]) => ({ node, name })),
        tail: (node: NodeId) => (node === network.self ? tailOf(logFile(home), logLinesAsked) : this.#logOf(node)),
        wallMs: () => this.#options.wallMs(),
      };
      return yield* allLogs(sources, request.follow, signal);
    }
    const node = request.node === null ? network.self : this.#options.nodeNamed(request.node);
    if (node === network.self) return yield* ownLog(home, request.follow, signal);
    yield await this.#logOf(node);
  }

  /** The end of another machine's log. */
  async #logOf(node: NodeId): Promise<string> {
    const answer = await this.#options.network.ask(node, { kind: 'log', lines: logLinesAsked }, askMs);
    if (answer.kind === 'log') return answer.text;
    throw new AutogitError('timed-out', `${nodeName(this.#options.ledger(), node)} did not show its log`);
  }

  /** From GitLab by this node, where it holds the token; otherwise by one that does. */
  async #endedTrace(run: Run, offset: number): Promise<TracePiece> {
    const member = this.#options.member();
    const { token } = this.#options.ledger().gitlab;
    if (token !== null && member.box.canOpen(token)) return member.traces.read(run, offset);
    const answer = await this.#options.askHolders({ kind: 'ended-trace', run: run.run, offset });
    if (answer.kind !== 'trace') throw new AutogitError('bad-message', `another machine answered with ${answer.kind}`);
    return answer;
  }

  /** The newest run of a job: what this node has itself is fresher than the ledger. */
  #runOf(job: number): Run | null {
    const member = this.#options.member();
    const all = [...Object.values(member.ledger()?.runs ?? {}), ...member.runs.runs()];
    return (
      all
        .filter((run) => run.job === job)
        .sort((a, b) => a.takenAt - b.takenAt)
        .at(-1) ?? null
    );
  }
}
