import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commands } from '../../node/cli/command-table.ts';
import { kindOf } from '../../node/cli/completion-words.ts';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { namesIn, readRunbook } from '../../node/metrics/runbook.ts';
import { places } from '../../node/store/home.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import setUpBundle from '../e2e/bundle.ts';
import { nodeRow } from './node-row.ts';
import { SmallAgent } from './small-agent.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const job = (number: number, name: string): JobRow => ({
  job: number,
  project: 'lab/vision',
  name,
  ref: 'main',
  tags: [],
  state: 'running',
  node: 'kang',
  attempt: 1,
  queuedAt: null,
  startedAt: null,
  finishedAt: null,
  exitCode: null,
  because: '',
});

/** Two machines, one that waits, two jobs; may be so slow that nobody should wait for it. */
class TwoMachines extends SmallAgent {
  isSlow = false;
  override status(): StatusSnapshot {
    const at = new Date().toISOString();
    const waiting = { node: 'laptop', id: 'l', address: '10.0.0.9', words: 'coral-sixty-lamp-otter', since: at };
    return {
      ...super.status(),
      nodes: [{ ...nodeRow('kang', 'leader'), self: true }, nodeRow('desktop-1', 'gone')],
      waiting: [waiting],
    };
  }
  override async jobs(all: boolean): Promise<JobRow[]> {
    // For as long as anybody waits.
    while (this.isSlow) await new Promise((resolve) => setTimeout(resolve, 100));
    return (await super.jobs(all)).concat([job(4813, 'train; rm -rf /'), job(4815, 'eval')]);
  }
}

let dir: string;
let home: string;
let agent: TwoMachines;
let server: SocketServer;
beforeAll(async () => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-tab-'));
  home = join(dir, 'home');
  mkdirSync(home, { mode: 0o700 });
  const bin = join(root, 'dist', 'autogit-node.cjs');
  writeFileSync(join(dir, 'autogit-node'), `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`, { mode: 0o755 });
  agent = new TwoMachines();
  const log = { info: () => {}, warn: () => {}, error: () => {}, event: () => {} };
  server = await serveSocket({ path: places(home).socket, api: agent, log: log as never });
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

const env = (): NodeJS.ProcessEnv => ({ PATH: `${dir}:${process.env.PATH}`, HOME: dir, AUTOGIT_HOME: home });
const run = (file: string, args: string[], more: NodeJS.ProcessEnv = {}): Promise<{ out: string }> =>
  new Promise((resolve, reject) => {
    execFile(file, args, { env: { ...env(), ...more } }, (error, stdout, stderr) =>
      error || stderr !== '' ? reject(new Error(`${error?.message}: ${stderr}`)) : resolve({ out: stdout }),
    );
  });
/** What bash offers for a line of words, the last of which is being typed. */
async function offered(line: string[], more: NodeJS.ProcessEnv = {}): Promise<string> {
  const words = line.map((word) => `'${word}'`).join(' ');
  const script = `source <(autogit-node completion bash); COMP_WORDS=(${words}); COMP_CWORD=${line.length - 1}
_autogit_node; echo "\${COMPREPLY[*]}"`;
  return (await run('bash', ['-c', script], more)).out.trim();
}

/** Whoever presses TAB waits 300 ms for the agent: on a machine that is busy a word may come only the next time. */
const expectOffered = (line: string[], words: unknown, more: NodeJS.ProcessEnv = {}): Promise<void> =>
  expect.poll(() => offered(['autogit-node', ...line], more), { timeout: 50_000, interval: 100 }).toEqual(words);

describe('completion', () => {
  it('offers machines, waiting machines and jobs to every command that takes one', async () => {
    const wanted = { nodes: 'kang desktop-1', waiting: 'laptop', jobs: '4813 4815' };
    const taking = commands.filter(({ args, path }) => /node|job|id/.test(args ?? '') && !path.startsWith('__'));
    expect(taking.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['jobs', 'why', 'logs', 'approve', 'ignore', 'forget', 'drain', 'undrain']),
    );
    for (const command of taking) {
      const kind = kindOf(command);
      expect([command.path, kind]).toEqual([command.path, expect.any(String)]);
      await expectOffered([...command.path.split(' '), ''], wanted[kind as keyof typeof wanted]);
    }
  });

  it.each([
    [['logs', '--node', ''], 'kang desktop-1'],
    [['logs', '4813', '--node', 'd'], 'desktop-1'],
    [['recover', '--force', '--off', ''], 'kang desktop-1'],
    [['pause', '--now', 'su'], 'suspend suspend/end'],
    [['pause', '--gpu', '--now', '--f'], '--for'],
    [['forget', 'des'], 'desktop-1'],
    [['forget', '--yes', 'ka'], 'kang'],
    // The value of a flag is no command and no machine.
    [['join', '--name', 'drain', '--exec'], '--executor'],
    [['join', '--executor', ''], 'docker process'],
    [['status', '-o', ''], 'wide json'],
    [['completion', 'f'], 'fish'],
    [['gitlab', 'con'], 'connect'],
    [['gitlab', 'copies', ''], 'add remove'],
    // The flags of that command, not of all that gitlab has.
    [['gitlab', 'upgrade', '--re'], '--rehearse'],
    [['gitlab', 'drill', '--n'], '--no-color --no-input'],
    [['gitlab', 'copies', '--re'], ''],
    [['gitlab', '--de'], ''],
    [['gitlab', 'deploy', '--preset', 't'], 'team'],
    [['gitlab', 'drill', '--on', 'd'], 'desktop-1'],
    [['gitlab', 'deploy', '--copies', 'ka'], 'kang'],
    [['gitlab', 'copies', 'add', ''], 'kang desktop-1'],
    [['gitlab', 'backup', '--to', ''], 'node:desktop-1'],
    // As bash gives it: a colon is a word of its own, and what is behind it is put into the line.
    [['gitlab', 'backup', '--to', 'node', ':', 'de'], 'desktop-1'],
    [['gitlab', 'protect', '--to', 'node', ':'], 'desktop-1'],
    [['gitlab', 'protect', '--to', '/mnt'], ''],
    [['gitlab', 'connect', 'http', ':', '//kang', '--tok'], '--token-env'],
    [['gitlab', '--yes', 'copies', 'remove', 'ka'], 'kang'],
    [['why', '4813', '--js'], '--json'],
    [['why', '4813', ''], expect.not.stringContaining('4815')],
  ])('after %j bash offers %s', async (line, words) => {
    await expectOffered(line, words);
  });

  it('offers what GitLab can be compared with or made of, and what a machine keeps that served before', async () => {
    const kept = { node: 'kang', name: 'fenced-1', at: null, bytes: null, doing: null, brought: null };
    agent.gitlab = { mode: 'hosted', fenced: [kept] };
    const row = { at: 1, version: null, epoch: 1, isOwn: true, because: 'what a restore has replaced' };
    agent.backups = [{ ...row, id: 'replaced-2' }];
    await expectOffered(['gitlab', 'diff', ''], 'fenced-1 replaced-2');
    await expectOffered(['gitlab', 'restore', 're'], 'replaced-2');
    await expectOffered(['gitlab', 'fenced', 'drop', ''], 'fenced-1');
    agent.gitlab = {};
  });

  it('asks the agent of the home that stands in the line', async () => {
    const elsewhere = { AUTOGIT_HOME: join(dir, 'none') };
    await expectOffered(['--home', home, 'why', '48'], '4813 4815', elsewhere);
    await expectOffered(['why', '--home', '=', home, '48'], '4813 4815', elsewhere);
  });

  it('is silent without an agent, and does not wait for a slow one', async () => {
    const none = { AUTOGIT_HOME: join(dir, 'none') };
    for (const kind of ['nodes', 'waiting', 'jobs', 'nothing'])
      expect((await run('autogit-node', ['__complete', kind], none)).out).toBe('');
    // What no agent is needed for.
    const entries = (await run('autogit-node', ['__complete', 'entries'], none)).out.trim().split('\n');
    expect(entries.map((line) => line.split('\t')[0])).toEqual(['list', ...namesIn(readRunbook())]);
    agent.isSlow = true;
    expect((await run('autogit-node', ['__complete', 'jobs'])).out).toBe('');
    agent.isSlow = false;
    await expect
      .poll(async () => (await run('autogit-node', ['__complete', 'jobs'])).out, { timeout: 50_000 })
      .toBe('4813\trunning train; rm -rf /\n4815\trunning eval\n');
  });

  it('zsh takes the same function, fish the same words with what they are', async () => {
    const zsh = (await run('autogit-node', ['completion', 'zsh'])).out;
    expect(zsh).toContain('bashcompinit');
    expect(zsh).toContain('__complete "$kind"');
    const fish = (await run('autogit-node', ['completion', 'fish'])).out;
    for (const [command, kind] of [
      ['drain', 'nodes'],
      ['approve', 'waiting'],
      ['why', 'jobs'],
    ])
      expect(fish).toContain(`'__fish_seen_subcommand_from ${command}' -a '(__autogit_node_words ${kind})'`);
    expect(fish).toContain(`'__fish_seen_subcommand_from logs' -l node -x -a '(__autogit_node_words nodes)'`);
    expect(fish).toContain(`from backup' -l to -r -F -a '(__autogit_node_words keepers)'`);
    expect(fish).toMatch(/from gitlab; and __fish_seen_subcommand_from drill' -l on .*one that holds a copy/);
    expect(fish).not.toContain("'__fish_seen_subcommand_from gitlab' -l ");
    expect(fish).toContain("-a webhook -d 'GitLab tells the mesh at once");
    expect(fish).not.toContain('__watchdog');
  });
});
