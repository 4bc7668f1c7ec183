import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { downloadArtifact, uploadArtifact } from '../../gitlab-bridge/artifact-transfer.ts';
import { createGitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { GitlabHooks } from '../../gitlab-bridge/gitlab-hooks.ts';
import { answersItself, patchTrace, requestJob, updateJob, verifyRunner } from '../../gitlab-bridge/gitlab-runner.ts';
import {
  readTokenEnd,
  resetRunnerToken,
  revokeAdminToken,
  rotateAdminToken,
  secondAdminToken,
} from '../../gitlab-bridge/gitlab-tokens.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { Chance } from '../sim/chance.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';

/**
 * Whatever comes back, a call ends as its contract says: with a plain answer, or with an error of ours. Answers of a
 * GitLab with something changed at random: status, headers, a body cut, bytes flipped, JSON with values of other kinds.
 */
/** Each answer has chance of its own, from the round's seed and what is asked how often: the order of calls is nobody's. */
let seed = 1;
let asked = new Map<string, number>();
let chance = new Chance(seed);
const random = (below: number): number => chance.below(below);
const pick = <T>(from: readonly T[]): T => chance.pick(from);
function chanceFor(what: string): Chance {
  const count = (asked.get(what) ?? 0) + 1;
  asked.set(what, count);
  return new Chance(createHash('sha256').update(`${seed} ${what} ${count}`).digest().readInt32LE());
}

const truths: unknown[] = [
  { id: 5, token: 'glcbt-abc', job_info: { project_id: 2, name: 'x' }, steps: [], variables: [], git_info: {} },
  { data: { jobs: { pageInfo: { hasPreviousPage: false, startCursor: null }, nodes: [] }, canceling: { nodes: [] } } },
  {
    data: {
      jobs: { pageInfo: { hasPreviousPage: true, startCursor: 'x' }, nodes: [{ id: 'gid://gitlab/Ci::Build/7' }] },
    },
  },
  { errors: [{ message: 'no' }] },
  [{ id: 1, started_at: 'yesterday', project: { id: 2 }, runner_manager: { system_id: 's' } }],
  [{ id: 9, description: 'autogit mesh nonce' }],
  { id: 3, name: 'x', status: 'canceling', pipeline: { id: 1 } },
  { id: 3, token: 'glrt-x', username: 'root', is_admin: true, version: '19.3.0' },
  { expires_at: '2027-11-30', token: 'glpat-x', user_id: 1, name: 'n', scopes: ['api'] },
  [{ id: 4, url: 'http://127.0.0.1:1/autogit/mesh/kang', alert_status: 'disabled' }],
];
const odd: unknown[] = [null, -1, 1e308, '', 'x'.repeat(5000), [], {}, true, [[]], '\u0000', Number.MAX_SAFE_INTEGER];

function changed(value: unknown, depth = 0): unknown {
  if (random(8) === 0) return pick(odd);
  if (Array.isArray(value)) return value.flatMap((one) => (random(9) === 0 ? [] : [changed(one, depth + 1)]));
  if (typeof value !== 'object' || value === null) return value;
  const parts = Object.entries(value).filter(() => random(12) !== 0);
  if (random(10) === 0) parts.push(['__proto__', pick(odd)]);
  return Object.fromEntries(parts.map(([key, one]) => [key, changed(one, depth + 1)]));
}

function body(): Buffer {
  const bytes = Buffer.from(JSON.stringify(random(3) === 0 ? pick(truths) : changed(pick(truths))) ?? '');
  for (let count = random(4) === 0 ? random(6) : 0; count > 0; count--) bytes[random(bytes.length)] = random(256);
  return random(6) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
}

const statuses = [
  200, 200, 200, 201, 201, 202, 204, 301, 302, 307, 400, 401, 403, 404, 409, 413, 416, 429, 500, 502, 599,
];
const headers = (): Record<string, string> => ({
  'Content-Type': pick(['application/json', 'application/json', 'text/html', 'TEXT/HTML; x', '', 'a/b;;;']),
  ...(random(2) ? { 'Job-Status': pick(['running', 'canceling', 'canceled', 'failed', 'x', '']) } : {}),
  ...(random(2) ? { Range: pick(['0-5', '0-99999999999999999999', 'x', '-', '5-0']) } : {}),
  ...(random(3) ? {} : { 'Retry-After': pick(['0.01', '-5', 'soon', '1e9', 'Fri, 01 Jan 2100 00:00:00 GMT', '']) }),
  ...(random(3) ? {} : { 'X-GitLab-Trace-Update-Interval': pick(['3', '-1', '1e400', 'x']) }),
  ...(random(3) ? {} : { Location: pick(['/a', '//', 'http://[', 'file:///etc/passwd', 'http://127.0.0.1:1/', '']) }),
  ...(random(9) ? {} : { 'Content-Length': pick(['0', '3', '999999']) }),
  ...(random(12) ? {} : { 'Content-Encoding': 'gzip' }),
});

let server: Server;
let url = '';
beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    chance = chanceFor(`${request.method} ${request.url}`);
    if (random(30) === 0) return void request.socket.destroy();
    response.on('error', () => undefined);
    try {
      response.writeHead(pick(statuses), headers());
      response.end(body());
    } catch {
      response.destroy();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const info = { name: 'a', version: '0', platform: 'l', architecture: 'a', executor: 's', shell: 'b', features: {} };
const timeoutMs = 300;
const line = () => ({ url, job: 5, token: 'glcbt-abc' });
const upload = {
  open: () => Readable.from(['x']),
  lengthBytes: 1,
  filename: 'a"\r\nb',
  format: 'zip',
  type: 'archive',
  expireIn: null,
};

/** Of those that never throw, the kinds or statuses that they may answer. */
const answers: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
  request: async (signal) => {
    const { kind } = await requestJob({ url, token: 't', systemId: 's', info, timeoutMs }, signal);
    expect(['job', 'empty', 'failed']).toContain(kind);
  },
  patch: async () => {
    const { status, intervalS } = await patchTrace(line(), { bytes: Buffer.from('x'), range: '0-0' }, { timeoutMs });
    expect(status === 'away' || (Number.isInteger(status) && status < 500)).toBe(true);
    expect(intervalS === null || Number.isFinite(intervalS)).toBe(true);
  },
  update: async () => {
    const { because } = await updateJob(line(), { state: 'running' }, { timeoutMs });
    expect(because.length).toBeLessThan(1000);
  },
  up: async (signal) => {
    const answer = await uploadArtifact(line(), upload, { signal });
    expect(['ok', 'away', 'refused']).toContain(answer.kind);
    if (answer.kind !== 'ok') expect(answer.because).not.toBe('');
  },
  down: async (signal) => {
    const answer = await downloadArtifact(line(), { signal });
    if (answer.kind === 'ok') answer.body.on('error', () => undefined).destroy();
  },
  there: async () => expect(typeof (await answersItself(url, timeoutMs))).toBe('boolean'),
};
const admin = () => createGitlabAdmin({ url, token: 't', timeoutMs });
const throwing: Record<string, () => Promise<unknown>> = {
  check: () => admin().check(),
  queue: () => admin().readQueue(100),
  create: () => admin().createRunner({ tags: ['a'], description: 'd' }),
  delete: () => admin().deleteRunner(1),
  list: () => admin().listOurRunners('autogit '),
  running: () => admin().runningJobs(1),
  job: () => admin().job(1, 2),
  retry: () => admin().retryJob(1, 2),
  cancel: () => admin().cancelJob(1, 2, true),
  trace: () => admin().trace(1, 2, 3),
  verify: () => verifyRunner(url, 't', 's', timeoutMs),
  end: () => readTokenEnd({ url, token: 't', timeoutMs }),
  rotate: () => rotateAdminToken({ url, token: 't', timeoutMs }),
  renew: () => rotateAdminToken({ url, token: 't', timeoutMs }, 'longest'),
  reset: () => resetRunnerToken({ url, token: 't', timeoutMs }),
  second: () => secondAdminToken({ url, token: 't', timeoutMs }),
  revoke: () => revokeAdminToken({ url, token: 't', timeoutMs }),
  hooks: () => new GitlabHooks({ url, token: 't', timeoutMs }).list(1),
  hook: () =>
    new GitlabHooks({ url, token: 't', timeoutMs }).set(1, null, { url, token: 't', signingToken: 's', name: 'n' }),
  allow: () => new GitlabHooks({ url, token: 't', timeoutMs }).allow('127.0.0.1:1'),
  disallow: () => new GitlabHooks({ url, token: 't', timeoutMs }).disallow(['127.0.0.1:1']),
};

describe('answers of a server that is not itself (seeded fuzz)', () => {
  it(
    'server answers: each call ends in time with an answer of its kind, or with an error of ours',
    async () => {
      let calls = 0;
      await fuzzRounds('server answers', 10, async (_, round) => {
        seed = round;
        asked = new Map();
        const cut = AbortSignal.timeout(2_000);
        const all = [
          ...Object.entries(answers).map(([name, ask]) => ({ name, ended: ask(cut) })),
          ...Object.entries(throwing).map(([name, ask]) => ({
            name,
            ended: ask().catch((error: unknown) => {
              if (!(error instanceof AutogitError) || !error.code.startsWith('gitlab-')) throw error;
            }),
          })),
        ];
        const ended = await Promise.allSettled(all.map(({ ended }) => ended));
        calls += ended.length;
        for (const [index, one] of ended.entries())
          if (one.status === 'rejected') throw new Error(`${all[index]?.name}: ${one.reason?.stack ?? one.reason}`);
      });
      expect(calls).toBeGreaterThanOrEqual(least(100));
    },
    fuzzTimeoutMs(10),
  );
});
