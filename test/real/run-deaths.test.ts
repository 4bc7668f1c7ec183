import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { plainText, RunLab, until } from './run-lab.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Beside node_modules, so that classic-level is found.
const bundle = join(root, 'dist', `run-deaths-${process.pid}.mjs`);
let lab: RunLab;
let line: DeadlyLine;
const agents: ChildProcess[] = [];

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'test/real/run-agent.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['classic-level'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
});
afterAll(() => rmSync(bundle, { force: true }));
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.kill('SIGKILL');
  line.stop();
  await lab.stop();
});

type Moment = 'before' | 'within' | 'after';
/** Which request dies, and when: before GitLab has a byte of it, when it has a part, or when it has done it and the answer is on its way. */
interface Death {
  moment: Moment;
  is(method: string, path: string, body: Buffer): boolean;
}

/** The line between agent and GitLab, that is cut once, at one moment of one request. */
class DeadlyLine {
  death: Death | null = null;
  onDeath: () => void = () => undefined;
  readonly #server = http.createServer((request, response) => void this.#pass(request, response));
  readonly #to: () => string;

  constructor(to: () => string) {
    this.#to = to;
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #pass(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method = 'GET', url: path = '/', headers } = request;
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const { death } = this;
    const dies = death?.is(method, path, body) === true;
    if (dies) this.death = null;
    const die = (): void => {
      this.onDeath();
      request.socket.destroy();
    };
    if (dies && death?.moment === 'before') return die();
    const { hostname, port } = new URL(this.#to());
    const onward = http.request({ hostname, port, method, path, headers, agent: false }, (answer) => {
      if (dies) return void answer.resume().on('end', die);
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    if (!dies || death?.moment !== 'within') return void onward.end(body);
    onward.write(body.subarray(0, Math.floor(body.length / 2)), () => {
      onward.destroy();
      die();
    });
  }
}

/** Starts an agent process; `said` are its lines so far. */
function agent(what: 'take' | 'resume') {
  const child = spawn(process.execPath, [bundle, lab.folder, what], { stdio: ['ignore', 'pipe', 'inherit'] });
  agents.push(child);
  const said: Record<string, unknown>[] = [];
  let rest = '';
  child.stdout.on('data', (data: Buffer) => {
    const lines = (rest + data.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) said.push(JSON.parse(text) as Record<string, unknown>);
  });
  return { child, said, died: new Promise((resolve) => child.once('exit', resolve)) };
}

const requests: Record<string, Death['is']> = {
  trace: (method, path, body) => method === 'PATCH' && path.includes('/trace') && body.includes('line 20'),
  upload: (method, path) => method === 'POST' && /\/jobs\/\d+\/artifacts/.test(path),
  end: (method, _path, body) => method === 'PUT' && body.includes('"success"'),
};
type Case = [what: string, moment: Moment, who: 'node' | 'GitLab'];
const ofBoth = (what: string, moment: Moment): Case[] => [
  [what, moment, 'node'],
  [what, moment, 'GitLab'],
];
/** The answer to a trace that is lost is the same as one to a trace that never came: the next one asks where GitLab stands. */
const cases: Case[] = [
  ...ofBoth('trace', 'within'),
  ...ofBoth('upload', 'within'),
  ...ofBoth('upload', 'after'),
  ...ofBoth('end', 'before'),
  ...ofBoth('end', 'after'),
];

describe('nothing is lost, and nothing done twice (SAFETY J4)', () => {
  it.each(cases)('of the request %s: %s it is there the %s dies', async (what, moment, who) => {
    const ci = `
only:
  script:
    - echo begins >> ${'$'}PROOF
    - for i in $(seq 1 40); do echo "line $i"; sleep 0.01; done
    - head -c 300000 /dev/zero | tr '\\0' 'x' > out.txt
  variables: { PROOF: "PROOF_FILE" }
  artifacts: { paths: [out.txt] }
`;
    lab = await RunLab.start({ '.gitlab-ci.yml': 'x:\n  script: ["true"]\n' });
    const proof = join(lab.folder, 'proof');
    writeFileSync(join(lab.folder, 'tree', '.gitlab-ci.yml'), ci.replace('PROOF_FILE', proof));
    await lab.git('commit', '-q', '-a', '-m', 'second');
    await lab.git('push', '-q', lab.address, 'HEAD:main');
    await lab.admin.cancelJob(lab.projectId, 1);
    line = new DeadlyLine(() => lab.gitlab.url);
    const url = await line.start();
    writeFileSync(join(lab.folder, 'agent.json'), JSON.stringify({ url, token: lab.runnerToken, home: lab.home }), {
      mode: 0o600,
    });
    line.death = { moment, is: requests[what] as Death['is'] };
    let { child, said, died } = agent('take');
    let deaths = 0;
    line.onDeath = () => {
      deaths += 1;
      if (who === 'node') child.kill('SIGKILL');
      else void lab.gitlab.down().then(() => setTimeout(() => void lab.gitlab.up(), 400));
    };
    await until('the death', () => deaths > 0);
    if (who === 'node') {
      await died;
      ({ child, said, died } = agent('resume'));
    }
    await until('the end', () => said.some(({ state }) => state === 'delivered' || state === 'discarded'));
    const id = 2;
    const text = plainText(await lab.traceAt({ job: id } as never));
    expect(lab.gitlab.job(id), text).toMatchObject({ status: 'success', traceCheck: 'match' });
    expect(lab.gitlab.job(id)?.artifacts.filter(({ type }) => type === 'archive')).toHaveLength(1);
    expect(readFileSync(proof, 'utf8')).toBe('begins\n');
    expect(text.split('\n').filter((one) => one.startsWith('line '))).toEqual(
      Array.from({ length: 40 }, (_, i) => `line ${i + 1}`),
    );
    expect(deaths).toBe(1);
    expect(text.match(/Job succeeded/g)).toHaveLength(1);
  });
});
