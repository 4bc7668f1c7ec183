import { spawn } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { askInside, lookInside } from '../../node/hosting/gitlab-inside.ts';

/** GitLab's nginx as a socket, and curl itself. */
let server: Server;
let port = 0;
/** It wants to be told who the client is, and answers 400 to who says nothing; or the other way round. */
let isToldClient = true;
/** By path; null: it hangs. */
let answers: Record<string, { status: number; body?: string } | null> = {};
let asked: string[] = [];
let programs: string[][] = [];
const sockets = new Set<Socket>();

const well = {
  '/users/sign_in': { status: 200, body: 'a page\n000' },
  '/api/v4/version': { status: 401, body: '{}' },
  '/-/readiness?all=1': { status: 200, body: '{"status":"ok"}' },
};

beforeEach(async () => {
  [isToldClient, answers, asked, programs] = [true, { ...well }, [], []];
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    let [rest, isTold] = ['', false];
    socket.on('data', (chunk) => {
      rest += chunk.toString();
      for (let end = rest.indexOf('\r\n\r\n'); end >= 0; end = rest.indexOf('\r\n\r\n')) {
        const lines = rest.slice(0, end).split('\r\n');
        rest = rest.slice(end + 4);
        if (lines[0]?.startsWith('PROXY ')) isTold = lines.shift() !== undefined;
        if (isTold !== isToldClient) return socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
        const path = lines[0]?.split(' ')[1] ?? '';
        asked.push(path);
        const answer = answers[path];
        if (answer === null) return;
        const { status, body = '' } = answer ?? { status: 404 };
        socket.write(`HTTP/1.1 ${status} Said\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      }
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  port = (server.address() as { port: number }).port;
});

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

const host = {
  exec: async (_id: string, argv: readonly string[], { input = '' }: { input?: string }) => {
    programs.push([...argv]);
    const [program = '', ...args] = argv;
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdin.end(
      input.replaceAll('http://127.0.0.1/', `http://127.0.0.1:${port}/`).replaceAll('time = 10', 'time = 1'),
    );
    const ended = new Promise<number>((done) => child.once('exit', (code) => done(code ?? -1)));
    return { out: await text(child.stdout), code: await ended };
  },
};

it('one look is one program, however much it asks', async () => {
  expect(await lookInside(host, 'c')).toEqual({ problem: null, tellsClient: true });
  expect(asked).toEqual(Object.keys(well));
  expect(programs).toEqual([['curl', '--config', '-']]);
});

it('an nginx that is not told who asks is asked again, all of it', async () => {
  isToldClient = false;
  expect(await lookInside(host, 'c')).toEqual({ problem: null, tellsClient: false });
  expect(asked).toEqual(Object.keys(well));
  expect(programs).toHaveLength(2);
});

it('says what of it does not work', async () => {
  answers['/users/sign_in'] = { status: 502 };
  expect(await lookInside(host, 'c')).toEqual({ problem: 'its sign-in page answers 502', tellsClient: true });
  answers = { ...well, '/api/v4/version': { status: 500 } };
  expect(await lookInside(host, 'c')).toEqual({ problem: 'its API answers 500', tellsClient: true });
  const body = JSON.stringify({ db_check: [{ status: 'failed' }], redis_check: [{ status: 'ok' }] });
  answers = { ...well, '/-/readiness?all=1': { status: 503, body } };
  expect(await lookInside(host, 'c')).toEqual({ problem: 'it says that db failed', tellsClient: true });
});

it('asks for nothing more behind what nobody answered in time', async () => {
  answers['/api/v4/version'] = null;
  expect(await lookInside(host, 'c')).toEqual({ problem: 'its API does not answer', tellsClient: true });
  expect(asked).toEqual(['/users/sign_in', '/api/v4/version']);
  answers = { ...well, '/users/sign_in': null };
  expect(await lookInside(host, 'c')).toEqual({ problem: 'its sign-in page does not answer', tellsClient: null });
});

it('an answer is given as it came, whatever stands in it', async () => {
  const body = 'one\n\n200\n%{http_code}\n';
  answers['/odd'] = { status: 418, body };
  expect(await askInside(host, 'c', { path: '/odd', token: 'glpat-secret' })).toEqual({
    status: 418,
    body,
    tellsClient: true,
  });
  expect(programs.flat().join(' ')).not.toContain('glpat');
});
