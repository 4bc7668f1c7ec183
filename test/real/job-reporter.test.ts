import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { TransferAnswer } from '../../gitlab-bridge/artifact-transfer.ts';
import { answersItself } from '../../gitlab-bridge/gitlab-runner.ts';
import { systemClock } from '../../node/clock.ts';
import { GitlabReturn } from '../../node/runs/gitlab-return.ts';
import { type GitlabLineOptions, JobReporter } from '../../node/runs/job-reporter.ts';
import { patiently, type RunContext } from '../../node/runs/run-context.ts';
import { leaseLimits } from '../../node/runs/run-lease.ts';
import { TraceLog } from '../../node/runs/trace-log.ts';
import { answering, ended } from './answering-server.ts';
import { until } from './run-lab.ts';

/** A run's line to GitLab, with something before GitLab that spoils some calls and not others. */
const folder = mkdtempSync(join(tmpdir(), 'autogit-t-gitlab-line-'));
const clock = systemClock();
let server: Server | null = null;
let returning: GitlabReturn | null = null;
let url = '';
let updates: Record<string, unknown>[] = [];
let patched = '';
type Spoil = (request: IncomingMessage, response: ServerResponse) => boolean;

async function gitlab(spoil: Spoil = () => false, port = 0): Promise<void> {
  ({ server, url } = await answering((request, response, body) => {
    if (spoil(request, response)) return;
    if (request.method === 'PUT') updates.push(JSON.parse(body) as Record<string, unknown>);
    if (request.method === 'PATCH') patched += body;
    const headers = { 'Content-Type': 'application/json', 'Job-Status': 'running' };
    const isVersion = request.url?.endsWith('/version');
    response.writeHead(isVersion ? 401 : request.method === 'PATCH' ? 202 : 200, headers).end('{}');
  }, port));
}

const page = (response: ServerResponse, status: number): true => {
  response.writeHead(status, { 'Content-Type': 'text/html' }).end('<html>no</html>');
  return true;
};

const closed = (): Promise<void> => ended(server);

let runs = 0;
function line(more: Partial<GitlabLineOptions> = {}): { line: JobReporter; trace: TraceLog } {
  const trace = new TraceLog(join(folder, `run-${++runs}`), [], []);
  returning = new GitlabReturn({ answers: () => answersItself(url, 1000) });
  const made = new JobReporter({
    line: () => ({ url, job: 5, token: 'glcbt-x' }),
    trace,
    acked: 0,
    bootMs: clock.bootMs,
    keepAliveMs: () => 30_000,
    onAcked: () => undefined,
    onVerdict: () => undefined,
    returning,
    ...more,
  });
  return { line: made, trace };
}
const success = (trace: TraceLog) => () => ({ state: 'success' as const, exit_code: 0, output: trace.sum() });

afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(async () => {
  returning?.stop();
  await closed();
  updates = [];
  patched = '';
});

describe('what GitLab hears of a run', () => {
  it('with each patch whether its trace shows variables, which GitLab then keeps from those who are no developers', async () => {
    const asked: string[] = [];
    await gitlab((request) => {
      if (request.method === 'PATCH') asked.push(request.url?.split('?')[1] ?? '');
      return false;
    });
    for (const isDebugged of [true, false]) {
      patched = '';
      const { line: one, trace } = line({ isDebugged });
      one.start();
      trace.say('first\n');
      await until('the first bytes', () => patched !== '');
      await one.stop();
    }
    expect(asked).toEqual(['debug_trace=true', 'debug_trace=false']);
  });

  it('of a firewall that refuses each patch but the first: the result, without the rest and without its sum (S3)', async () => {
    let patches = 0;
    await gitlab((request, response) => request.method === 'PATCH' && ++patches > 1 && page(response, 403));
    const { line: one, trace } = line();
    one.start();
    trace.say('first\n');
    await until('the first bytes', () => patched !== '');
    trace.say('second\n');
    // Signs of life go on meanwhile, and the page is no word of GitLab's on the job.
    await until('five pages', () => patches >= 6, 20_000);
    expect(updates.filter(({ state }) => state === 'running').length).toBeGreaterThanOrEqual(4);
    expect(await one.deliver(success(trace))).toEqual({ kind: 'delivered' });
    expect(updates.at(-1)).toMatchObject({ state: 'success' });
    expect(updates.at(-1)).not.toHaveProperty('output');
    await one.stop();
  }, 40_000);

  it('nothing more of an end that it did not take for a day, its trace among it; the line ends, saying why', async () => {
    await gitlab();
    let laterMs = 0;
    const { line: one, trace } = line({ bootMs: () => clock.bootMs() + laterMs, sinceEndMs: () => laterMs });
    one.start();
    trace.say('whole\n');
    await until('the first bytes', () => patched !== '');
    await closed();
    trace.say('and its end\n');
    const delivery = one.deliver(success(trace));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    laterMs = 23 * 3_600_000;
    expect(await Promise.race([delivery, new Promise((resolve) => setTimeout(resolve, 1_500))])).toBeUndefined();
    laterMs = 25 * 3_600_000;
    one.wake();
    // Whatever its last try met: on a slow machine that is the one during which the server was closed.
    const because = expect.stringMatching(/connection (refused|was cut)|no answer in time/);
    expect(await delivery).toEqual({ kind: 'given-up', because });
    await one.stop();
  }, 30_000);

  it('of an end while GitLab was away: within 2 s of its return, however long it was away (server-double A2)', async () => {
    await gitlab();
    const port = Number(new URL(url).port);
    const { line: one, trace } = line();
    one.start();
    trace.say('whole\n');
    await until('the first bytes', () => patched !== '');
    await closed();
    trace.say('and its end\n');
    let delivered = 0;
    const delivery = one.deliver(success(trace)).then((end) => {
      delivered = Date.now();
      return end;
    });
    // By now the next try would be 4 s away, and later a minute.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    await gitlab(undefined, port);
    const back = Date.now();
    expect(await delivery).toEqual({ kind: 'delivered' });
    expect(delivered - back).toBeLessThan(2_000);
    expect(patched).toBe('whole\nand its end\n');
    expect(updates.at(-1)).toHaveProperty('output');
    await one.stop();
  }, 30_000);
});

describe('a run that lives on GitLab’s word alone (SAFETY J1)', () => {
  it('is confirmed in time by a GitLab that takes 1.2 s to answer: two questions are on their way, never three', async () => {
    let open = 0;
    let most = 0;
    await gitlab((_request, response) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        response.writeHead(200, { 'Content-Type': 'application/json', 'Job-Status': 'running' }).end('{}');
      }, 1200);
      return true;
    });
    const { line: one } = line({ keepAliveMs: () => leaseLimits.askMs });
    one.start();
    await until('the first answer', () => one.heardAt > 0);
    let oldest = 0;
    for (const end = clock.bootMs() + 5_000; clock.bootMs() < end; await new Promise((done) => setTimeout(done, 10)))
      oldest = Math.max(oldest, clock.bootMs() - one.heardAt);
    await one.stop();
    // One after the other it would be 2.4 s, and the run would stand still for some of it each time.
    expect(oldest).toBeLessThan(leaseLimits.rightMs + 150);
    expect(most).toBe(2);
  }, 30_000);

  it('costs no processor while GitLab answers nothing', async () => {
    await gitlab(() => true);
    let looks = 0;
    const keepAliveMs = (): number => {
      looks += 1;
      return leaseLimits.askMs;
    };
    const { line: one } = line({ keepAliveMs });
    one.start();
    await new Promise((done) => setTimeout(done, 2_000));
    await one.stop();
    // Two questions are on their way, a third is due: before, that was looked at a thousand times a second.
    expect(looks).toBeLessThan(500);
  });

  it('is asked about no more often than before while GitLab answers at once', async () => {
    let asked = 0;
    await gitlab((request) => {
      if (request.method === 'PUT') asked += 1;
      return false;
    });
    const { line: one } = line({ keepAliveMs: () => leaseLimits.askMs });
    one.start();
    await new Promise((done) => setTimeout(done, 2_200));
    await one.stop();
    expect(asked).toBeLessThanOrEqual(5);
  });
});

describe('asking patiently', () => {
  const run = (): RunContext => {
    const options = { clock, gitlabReturn: returning ?? undefined };
    const ending = { check: () => undefined, signal: new AbortController().signal };
    const uploadTime = { away: () => undefined };
    return { options, ending, uploadTime, trace: { say: () => undefined }, job: () => ({ url }) } as never;
  };
  const refuses = async (answer: TransferAnswer): Promise<number> => {
    let asked = 0;
    const tries = patiently(run(), 'uploading artifacts', async () => {
      asked += 1;
      return asked > 5 ? { kind: 'ok' } : answer;
    });
    await tries;
    return asked;
  };

  it('a page that repeats while GitLab answers is a refusal; while GitLab does not, it is waited for', async () => {
    await gitlab();
    const away: TransferAnswer = { kind: 'away', because: 'a web page (HTTP 403)', page: 403 };
    await expect(refuses(away)).rejects.toThrow('something before GitLab answers it with a web page (HTTP 403)');
    await closed();
    await gitlab((_request, response) => page(response, 200));
    expect(await refuses(away)).toBe(6);
  }, 60_000);

  it('waits as long as GitLab asks (server-double A1)', async () => {
    await gitlab();
    const began = Date.now();
    let asked = 0;
    await patiently(run(), 'x', async () =>
      ++asked === 1 ? { kind: 'away', because: '429', waitMs: 2_000 } : { kind: 'ok' },
    );
    expect(Date.now() - began).toBeGreaterThanOrEqual(1_990);
  });
});
