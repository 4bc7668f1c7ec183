import { setTimeout } from 'node:timers/promises';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';

const everyMs = 1_000;
/** So many lines of one machine's log are asked for at once. */
export const logLinesAsked = 200;

interface LogSources {
  /** Every machine of the mesh. */
  machines(): { node: NodeId; name: string }[];
  /** The end of its log. Throws where it cannot be asked. */
  tail(node: NodeId): Promise<string>;
  wallMs(): number;
}

/** What is known of one machine's log: its last line that was told, and whether it was said that it cannot be read. */
interface Told {
  last: string | null;
  isAway: boolean;
}

/**
 * The logs of all machines as JSON lines, each with its `machine`, the older before the newer as far as they are read together; with
 * `follow` on and on. A machine that cannot be asked has a line that says so, once until it answers again.
 */
export async function* allLogs(sources: LogSources, follow: boolean, signal: AbortSignal): AsyncIterable<string> {
  const told = new Map<NodeId, Told>();
  for (;;) {
    const lines = await Promise.all(
      sources.machines().map(async ({ node, name }) => {
        const known = told.get(node) ?? { last: null, isAway: false };
        told.set(node, known);
        return newsOf(sources, node, name, known);
      }),
    );
    const all = lines.flat().sort((a, b) => a.time - b.time);
    if (all.length > 0) yield `${all.map(({ text }) => text).join('\n')}\n`;
    if (!follow || signal.aborted) return;
    await setTimeout(everyMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

interface Line {
  time: number;
  text: string;
}

async function newsOf(sources: LogSources, node: NodeId, name: string, known: Told): Promise<Line[]> {
  try {
    const lines = (await sources.tail(node)).split('\n').filter((line) => line !== '');
    const fresh = linesAfter(known.last, lines);
    known.last = lines.at(-1) ?? known.last;
    known.isAway = false;
    return stamped(fresh, name);
  } catch (error) {
    if (known.isAway) return [];
    known.isAway = true;
    const time = sources.wallMs();
    // The network knows its id alone.
    const msg = `the log of ${name} cannot be read now: ${sentenceOf(error).replaceAll(node, name)}`;
    return [{ time, text: JSON.stringify({ machine: name, level: 40, time, msg }) }];
  }
}

/** Where the last one that was told is not among them any more, all are new. */
export const linesAfter = (last: string | null, lines: readonly string[]): string[] =>
  lines.slice(last === null ? 0 : lines.lastIndexOf(last) + 1);

/** Each with its machine; one that is no JSON comes after the one before it. */
function stamped(lines: readonly string[], machine: string): Line[] {
  let time = 0;
  return lines.map((line) => {
    const fields = fieldsOf(line);
    if (typeof fields?.time === 'number') time = fields.time;
    return { time, text: JSON.stringify({ machine, ...(fields ?? { time, level: 30, msg: line }) }) };
  });
}

function fieldsOf(line: string): Record<string, unknown> | null {
  try {
    const read: unknown = JSON.parse(line);
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
