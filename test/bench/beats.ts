import { raftTimings } from '../../scheduler/raft/raft-timings.ts';
import { until } from '../e2e/rig.ts';
import type { Agent } from './agents.ts';
import { answeredLines } from './answered-lines.ts';
import { figures } from './figures.ts';

/** One chunk of bytes that an agent wrote or read, as `beat-probe.cjs` notes it. */
export interface Chunk {
  at: number;
  isSent: boolean;
  /** `from-to`, both with their ports; of datagrams `udp from-to`. */
  line: string;
  /** Its end, in bytes of the stream so far; of a datagram its number. */
  until: number;
  bytes: number;
}

/** What becomes of heartbeats in one look, over all followers, ms. */
export interface Beats {
  count: number;
  /** How much later than a heartbeat after the one before it each was heard, p99: what a follower's patience is spent on. */
  lateMs: number;
  /** The longest of them. */
  worstMs: number;
  /** From the leader's write until a follower read it, median: how long the way is. */
  wayMs: number;
}

const sizeOf = (chunks: readonly Chunk[]): number => {
  const counts = new Map<number, number>();
  for (const { bytes } of chunks) counts.set(bytes, (counts.get(bytes) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 0;
};

/**
 * The heartbeats of one leader as its followers heard them. They are the leader's most frequent chunks on a line, some
 * bytes longer or shorter as their numbers grow; a follower has heard one when the stream has come as far as its end. Where
 * they are datagrams, those are looked at: one that is lost, or goes by the stream in between, is late until the next is heard.
 */
export function beatsOf(leader: readonly Chunk[], followers: readonly (readonly Chunk[])[]): Beats {
  const late: number[] = [];
  const way: number[] = [];
  for (const follower of followers) {
    const reads = follower.filter(({ isSent }) => !isSent);
    const lines = new Set(reads.map(({ line }) => line).filter((line) => leader.some((sent) => sent.line === line)));
    const ofDatagrams = [...lines].filter((line) => line.startsWith('udp '));
    for (const line of ofDatagrams.length > 0 ? ofDatagrams : lines) {
      const read = reads.filter((chunk) => chunk.line === line);
      const sent = leader.filter((chunk) => chunk.isSent && chunk.line === line);
      const size = sizeOf(sent);
      let next = 0;
      let before = Number.NaN;
      for (const beat of sent.filter(({ bytes }) => Math.abs(bytes - size) <= 4)) {
        while (next < read.length && (read[next] as Chunk).until < beat.until) next += 1;
        const at = read[next]?.at;
        if (at === undefined) break;
        if (!Number.isNaN(before)) late.push(Math.max(0, at - before - raftTimings.heartbeatMs));
        way.push(at - beat.at);
        before = at;
      }
    }
  }
  const [all, ways] = [figures(late), figures(way)];
  const known = (value: number | null): number => value ?? Number.NaN;
  return { count: all.n, lateMs: known(all.p99), worstMs: known(all.max), wayMs: known(ways.median) };
}

/** What each agent noted since it was asked last. */
export async function notedBy(agents: readonly Agent[], fileOf: (agent: Agent) => string): Promise<Chunk[][]> {
  const lines = (agent: Agent): string[] => answeredLines(fileOf(agent));
  const before = agents.map((agent) => lines(agent).length);
  for (const { machine } of agents) machine.process?.kill('SIGUSR2');
  return Promise.all(
    agents.map(async (agent, index) => {
      const line = await until('the probe answers', () => lines(agent)[before[index] as number], 60_000);
      return JSON.parse(line) as Chunk[];
    }),
  );
}
