import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { downloadArtifact, uploadArtifact } from '../../gitlab-bridge/artifact-transfer.ts';
import { createGitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { failRun, patchTrace, requestJob, updateJob } from '../../gitlab-bridge/gitlab-runner.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { type Answer, answering, ended } from './answering-server.ts';

/** The client against servers that misbehave: real sockets, every answer that a proxy, a booting or a dying GitLab gives. */
let server: Server | null = null;
let url = '';

async function serve(answer: Answer): Promise<void> {
  ({ server, url } = await answering(answer));
}
afterEach(async () => {
  vi.useRealTimers();
  await ended(server);
  server = null;
});

const info = {
  name: 'autogit-node',
  version: '0',
  platform: 'linux',
  architecture: 'amd64',
  executor: 'shell',
  shell: 'bash',
  features: {},
};
const ask = () => requestJob({ url, token: 'glrt-x', systemId: 's', info, timeoutMs: 1000 });
const json = (response: ServerResponse, status: number, body: unknown, headers = {}): void => {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
};
const html = (response: ServerResponse, status: number): void => {
  response.writeHead(status, { 'Content-Type': 'text/html' });
  response.end('<html><body>GitLab is not responding</body></html>');
};
const job = { id: 5, token: 'glcbt-abc', job_info: { project_id: 2, name: 'x' }, steps: [], variables: [] };

describe('asking for a job', () => {
  it('gets one, as text too, and says who it is', async () => {
    let seen: { headers: IncomingMessage['headers']; body: Record<string, unknown> } | null = null;
    await serve((request, response, body) => {
      seen = { headers: request.headers, body: JSON.parse(body) };
      json(response, 201, job);
    });
    expect(await ask()).toMatchObject({ kind: 'job', payload: { id: 5 }, text: JSON.stringify(job) });
    expect(seen).toMatchObject({ headers: { 'runner-token': 'glrt-x' }, body: { token: 'glrt-x', system_id: 's' } });
  });

  it('knows the three kinds of nothing', async () => {
    await serve((_, response) => response.writeHead(204, { 'X-GitLab-Last-Update': 'abc' }).end());
    expect(await ask()).toMatchObject({ kind: 'empty', lastUpdate: 'abc' });
    server?.removeAllListeners('request').on('request', (_, response) => response.writeHead(204).end());
    expect(await ask()).toMatchObject({ kind: 'empty', lastUpdate: null });
    let asked = 0;
    server?.removeAllListeners('request').on('request', (_, response) => {
      asked++;
      if (asked < 3) json(response, 409, {});
      else json(response, 201, job);
    });
    expect(await ask()).toMatchObject({ kind: 'job' });
    expect(asked).toBe(3);
  });

  it('asks again only within the time that it was given: the leader frees by then what it booked', async () => {
    let asked = 0;
    const late = (response: ServerResponse) => setTimeout(() => json(response, 409, {}), 400);
    await serve((_, response) => void (late(response) && asked++));
    expect(await ask().then(() => asked)).toBeLessThan(4);
  });
  it.each<[string, Answer, boolean, RegExp]>([
    ['a web page', (_, response) => html(response, 502), false, /web page \(HTTP 502\)/],
    ['500', (_, response) => json(response, 500, { message: 'oops' }), false, /HTTP 500.*oops/],
    ['a refused token', (_, response) => json(response, 403, {}), false, /HTTP 403/],
    ['too many requests', (_, response) => json(response, 429, {}, { 'Retry-After': '60' }), false, /wait 60 s/],
    ['a 201 that is no JSON', (_, response) => html(response, 201), true, /no JSON/],
    ['a 201 without a job', (_, response) => json(response, 201, { hello: 1 }), true, /another form/],
    ['half a 201', (_, response) => half(response, 201), true, /no whole answer/],
    ['half a 500', (_, response) => half(response, 500), false, /no whole answer/],
    ['a connection cut before any answer', (request) => request.socket.destroy(), true, /connection was cut/],
    ['silence', () => undefined, true, /no answer in time/],
  ])('%s', async (_, answer, maybeTaken, because) => {
    await serve(answer);
    const answered = await ask();
    expect(answered).toMatchObject({ kind: 'failed', maybeTaken });
    expect((answered as { because: string }).because).toMatch(because);
  });

  it('tells GitLab at once of a job that it cannot read', async () => {
    const calls: string[] = [];
    await serve((request, response, body) => {
      // The trace that says why is another test's.
      if (request.method === 'PATCH') return json(response, 202, {});
      calls.push(
        `${request.method} ${request.url} ${request.headers['job-token'] ?? ''} ${JSON.parse(body).state ?? ''}`,
      );
      if (request.method === 'PUT') json(response, 200, 200);
      else json(response, 201, { id: 5, token: 'glcbt-abc', job_info: 'none' });
    });
    expect(await ask()).toMatchObject({
      kind: 'failed',
      maybeTaken: false,
      because: expect.stringMatching(/job 5 is failed/),
    });
    expect(calls.at(-1)).toBe('PUT /api/v4/jobs/5 glcbt-abc failed');
  });

  it('knows that nothing was taken where nobody listens', async () => {
    const closed = createTcp();
    closed.listen(0, '127.0.0.1');
    await once(closed, 'listening');
    url = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
    closed.close();
    expect(await ask()).toMatchObject({ kind: 'failed', maybeTaken: false, because: expect.stringMatching(/refused/) });
  });
});

const half = (response: ServerResponse, status: number): void => {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': '5000' });
  response.write(JSON.stringify(job).slice(0, 40));
  setTimeout(() => response.socket?.destroy(), 20);
};

describe("a job's own calls", () => {
  const line = () => ({ url, job: 5, token: 'glcbt-abc' });
  const patch = () => patchTrace(line(), { bytes: Buffer.from('hello'), range: '3-7' }, { timeoutMs: 1000 });

  it('sends bytes and reads every header', async () => {
    let seen = '';
    await serve((request, response, body) => {
      seen = `${request.headers['content-range']} ${body} ${request.headers['job-token']}`;
      json(response, 416, {}, { 'Job-Status': 'running', Range: '0-42', 'X-GitLab-Trace-Update-Interval': '3' });
    });
    expect(await patch()).toEqual({ status: 416, jobStatus: 'running', length: 42, intervalS: 3, retryAfterS: null });
    expect(seen).toBe('3-7 hello glcbt-abc');
  });

  it.each<[string, Answer, unknown]>([
    ['a web page with 403', (_, response) => html(response, 403), 'away'],
    ['a web page with 404', (_, response) => html(response, 404), 'away'],
    ['a web page with 200', (_, response) => html(response, 200), 'away'],
    ['500', (_, response) => json(response, 500, {}), 'away'],
    ['a cut answer', (_, response) => half(response, 202), 'away'],
    ['403 of GitLab', (_, response) => json(response, 403, {}, { 'Job-Status': 'canceled' }), 403],
    ['404 of GitLab', (_, response) => json(response, 404, {}), 404],
  ])('%s', async (_, answer, status) => {
    await serve(answer);
    expect((await patch()).status).toBe(status);
    expect((await updateJob(line(), { state: 'running' }, { timeoutMs: 1000 })).status).toBe(status);
  });

  it('fails a lost run, harmlessly twice, and throws while GitLab is away', async () => {
    let status = 200;
    await serve((_, response) => json(response, status, {}));
    expect(await failRun(line())).toMatch(/knows/);
    status = 403;
    expect(await failRun(line())).toMatch(/already/);
    status = 502;
    await expect(failRun(line())).rejects.toMatchObject({ code: 'gitlab-unreachable' });
  });

  it('survives a kept connection that the server closed', async () => {
    await serve((_, response) => json(response, 200, 200));
    expect((await updateJob(line(), { state: 'running' })).status).toBe(200);
    server?.closeAllConnections();
    expect((await updateJob(line(), { state: 'running' })).status).toBe(200);
  });

  it('streams artifacts up, past a redirect, and names every refusal', async () => {
    const bodies: string[] = [];
    let final = 201;
    let isPage = false;
    let message = '';
    await serve((request, response, body) => {
      if (request.url?.includes('/jobs/5/')) response.writeHead(307, { Location: '/elsewhere' }).end();
      else {
        bodies.push(body);
        // A proxy before GitLab says it with a web page.
        if (isPage) response.writeHead(final, { 'Content-Type': 'text/html' }).end('<html>too large</html>');
        else json(response, final, { message });
      }
    });
    const upload = () =>
      uploadArtifact(line(), {
        open: () => Readable.from([Buffer.from('zip-'), Buffer.from('bytes')]),
        lengthBytes: 9,
        filename: 'a"b.zip',
        format: 'zip',
        type: 'archive',
        expireIn: null,
      });
    expect(await upload()).toEqual({ kind: 'ok' });
    expect(bodies[0]).toContain('name="file"; filename="a_b.zip"');
    expect(bodies[0]).toContain('\r\n\r\nzip-bytes\r\n--');
    final = 413;
    expect(await upload()).toMatchObject({ kind: 'refused', isJobs: true, because: expect.stringMatching(/413/) });
    isPage = true;
    expect(await upload()).toMatchObject({ kind: 'refused', isJobs: true, disowned: false });
    isPage = false;
    final = 403;
    expect(await upload()).toMatchObject({ kind: 'refused', disowned: true });
    // What is in it is wrong, on whatever machine it is sent; or GitLab took it, and its answer was lost.
    final = 400;
    message = 'Invalid Format';
    expect(await upload()).toMatchObject({ kind: 'refused', isJobs: true, disowned: false });
    message = 'another artifact of the same type already exists';
    expect(await upload()).toEqual({ kind: 'ok', isThere: true });
    final = 503;
    expect(await upload()).toMatchObject({ kind: 'away' });
  });

  it('follows a download to object storage without the token', async () => {
    const seen: (string | undefined)[] = [];
    const storage = createServer((request, response) => {
      seen.push(request.headers['job-token'] as string | undefined);
      response.end('the zip');
    });
    storage.listen(0, '127.0.0.1');
    await once(storage, 'listening');
    const location = `http://127.0.0.1:${(storage.address() as AddressInfo).port}/bucket`;
    await serve((_, response) => response.writeHead(302, { Location: location }).end());
    const answer = await downloadArtifact(line());
    expect(answer.kind).toBe('ok');
    if (answer.kind === 'ok') expect(await text(answer.body)).toBe('the zip');
    expect(seen).toEqual([undefined]);
    storage.closeAllConnections();
    storage.close();
  });
});

describe('the admin API', () => {
  const admin = () => createGitlabAdmin({ url, token: 'glpat-x', timeoutMs: 1000 });
  it.each<[string, Answer, string]>([
    ['401', (_, response) => json(response, 401, { message: '401 Unauthorized' }), 'gitlab-refused'],
    ['403', (_, response) => json(response, 403, { message: 'insufficient_scope' }), 'gitlab-refused'],
    ['a booting GitLab', (_, response) => html(response, 502), 'gitlab-unreachable'],
    ['a login page', (_, response) => html(response, 200), 'gitlab-unreachable'],
    ['half an answer', (_, response) => half(response, 200), 'gitlab-unreachable'],
    [
      'no JSON',
      (_, response) => response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"ver'),
      'gitlab-answer',
    ],
    ['another form', (_, response) => json(response, 200, { nothing: true }), 'gitlab-answer'],
    ['elsewhere', (_, response) => response.writeHead(301, { Location: 'https://git.lan/' }).end(), 'gitlab-answer'],
    ['too much', (_, response) => json(response, 200, { version: 'x'.repeat(20 << 20) }), 'gitlab-unreachable'],
  ])('%s: every call fails with its code and a hint', async (_, answer, code) => {
    await serve(answer);
    const calls = [
      () => admin().check(),
      () => admin().readQueue(10),
      () => admin().createRunner({ tags: [], description: 'd' }),
    ];
    for (const call of calls) {
      const error = await call().then(
        () => null,
        (failure: unknown) => failure,
      );
      expect(error).toBeInstanceOf(AutogitError);
      expect(error).toMatchObject({ code });
      expect((error as AutogitError).hint.length).toBeGreaterThan(10);
      expect(String(error)).not.toContain('glpat-x');
    }
  });

  it('says what GraphQL says', async () => {
    await serve((_, response) => json(response, 200, { errors: [{ message: "Field 'jobs' does not exist" }] }));
    await expect(admin().readQueue(10)).rejects.toMatchObject({
      code: 'gitlab-answer',
      message: expect.stringMatching(/Field 'jobs' does not exist/),
    });
  });
});

describe('a job that cannot be read', () => {
  it('is failed with a trace that says why', async () => {
    const seen: string[] = [];
    await serve((request, response, body) => {
      if (request.url?.endsWith('/request')) return json(response, 201, { id: 5, token: 'glcbt-abc', job_info: {} });
      seen.push(`${request.method} ${request.headers['content-range'] ?? ''} ${body}`);
      json(response, 200, {});
    });
    expect(await ask()).toMatchObject({ kind: 'failed', maybeTaken: false });
    expect(seen[0]).toMatch(/^PATCH 0-\d+ autogit-node cannot run this job: .*project_id/);
    expect(seen[1]).toContain('runner_system_failure');
  });
});

describe('what stands before GitLab', () => {
  const upload = {
    open: () => Readable.from(['x'.repeat(1_500_000)]),
    lengthBytes: 1_500_000,
    filename: 'a.zip',
    format: 'zip',
    type: 'archive',
    expireIn: null,
  };
  const line = () => ({ url, job: 5, token: 'glcbt-abc' });

  it("a proxy's 413 fails the upload at once, with the setting that helps (S3)", async () => {
    await serve((_request, response) => html(response, 413));
    const answer = await uploadArtifact(line(), upload);
    expect(answer).toEqual({
      kind: 'refused',
      because: 'a proxy before GitLab refuses 1.5 MB (HTTP 413): raise its limit (nginx: client_max_body_size)',
      disowned: false,
      isJobs: true,
    });
  });

  it('a 403 page is named as one, GitLab is asked no sooner than it wants (server-double A1)', async () => {
    await serve((request, response) =>
      request.method === 'POST' ? html(response, 403) : json(response, 429, {}, { 'Retry-After': '7' }),
    );
    expect(await uploadArtifact(line(), upload)).toMatchObject({ kind: 'away', page: 403 });
    expect(await downloadArtifact(line())).toMatchObject({ kind: 'away', waitMs: 7000 });
    expect(await patchTrace(line(), { bytes: Buffer.from('x'), range: '0-0' })).toMatchObject({ retryAfterS: 7 });
    await server?.close();
    server?.closeAllConnections();
    await serve((_request, response) => json(response, 429, {}, { 'Retry-After': '60' }));
    expect(await ask()).toMatchObject({ kind: 'failed', waitMs: 60_000, maybeTaken: false });
  });

  it('token and files go to no other host (security A13); nobody is asked to compress', async () => {
    const seen: unknown[] = [];
    await serve((request, response) => {
      seen.push([request.method, request.headers['accept-encoding'], request.headers['job-token']]);
      const other = url.replace('127.0.0.1', 'localhost');
      response.writeHead(307, { Location: `${other}/stolen` }).end();
    });
    const up = await uploadArtifact(line(), upload);
    expect(up).toMatchObject({ kind: 'refused', disowned: false });
    expect(seen).toEqual([['POST', 'identity', 'glcbt-abc']]);
    await downloadArtifact(line());
    expect(seen.slice(1, 3)).toEqual([
      ['GET', 'identity', 'glcbt-abc'],
      ['GET', 'identity', undefined],
    ]);
  });

  it('a 403 to a request is about the runner only when GitLab says it', async () => {
    await serve((_request, response) => json(response, 403, { message: '403 Forbidden' }));
    expect(await ask()).toMatchObject({ kind: 'failed', unknownRunner: true });
    server?.closeAllConnections();
    server?.close();
    await serve((_request, response) => html(response, 403));
    expect(await ask()).not.toHaveProperty('unknownRunner');
  });
});

describe('an admin token', () => {
  it('that lost its rights is noticed by an empty queue within a minute, however it was before (S4)', async () => {
    let isAdmin = true;
    await serve((request, response) => {
      if (request.url?.endsWith('/user'))
        return json(response, 200, { username: 'root', ...(isAdmin ? { is_admin: true } : {}) });
      json(response, 200, { data: { jobs: null } });
    });
    vi.useFakeTimers({ toFake: ['performance'] });
    const admin = createGitlabAdmin({ url, token: 't', timeoutMs: 1000 });
    expect(await admin.readQueue(10)).toEqual({ jobs: [], complete: true, canceling: [] });
    isAdmin = false;
    vi.advanceTimersByTime(60_000);
    await expect(admin.readQueue(10)).rejects.toMatchObject({ code: 'gitlab-refused' });
  });
});
