import { isOn } from '../../gitlab-bridge/job-contract.ts';
import { serviceLine, warning } from './job-script.ts';
import type { RunContext } from './run-context.ts';

/** Of what services print the trace takes no more: the script's own output needs its room. */
const mostBytes = 1 << 20;
/** Bytes of the trace that are looked through for the last line of a service that it has. */
const mostRead = 8 << 20;

/**
 * With CI_DEBUG_SERVICES: what the services print goes into the trace as it comes, as gitlab-runner has it. Another agent
 * process goes on behind the last line that is there. Answers how it is ended.
 */
export function followServices({ workspace, payload, trace, options, record }: RunContext): () => void {
  const services = workspace?.services;
  if (!services || !isOn(payload, 'CI_DEBUG_SERVICES')) return () => undefined;
  const stop = new AbortController();
  const known = trace.read(Math.max(0, trace.length - mostRead), trace.length).toString('utf8');
  let bytes = Buffer.byteLength(known.match(serviceLine.any)?.join('') ?? '');
  const say = (name: string, lines: string[]): void => {
    if (stop.signal.aborted || bytes > mostBytes) return;
    const last = trace.read(trace.length - 1, trace.length)[0];
    const text = lines.map((line) => serviceLine.of(name, line)).join('');
    bytes += Buffer.byteLength(text);
    // A line that the script has not ended yet is ended first.
    trace.say(`${last === undefined || last === 10 || last === 13 ? '' : '\n'}${text}`);
    if (bytes <= mostBytes) return;
    trace.say(warning('the services print more than 1 MiB: the rest is left out'), 'services');
    // Nor is it read: one that prints without end would take the agent's time.
    stop.abort();
  };
  if (bytes > mostBytes) return () => undefined;
  services
    .follow((name) => serviceLine.lastTime(known, name), say, stop.signal)
    .catch((error: Error) => options.log.warn(`services of job ${record.run.job}: ${error.message}`));
  return () => stop.abort();
}

/** A service that died explains a script that failed; said once. */
export async function sayEndedServices({ workspace, trace }: RunContext): Promise<void> {
  const ended = (await workspace?.services?.ended()) ?? [];
  if (ended.length > 0) trace.say(ended.map((sentence) => warning(sentence)).join(''), 'ended-services');
}
