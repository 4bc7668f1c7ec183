import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { guardRules, isGuarded, setGuard } from '../../node/hosting/gate/gate-guard.ts';

/** SAFETY H1 over IPv6: a container's network, the machine that guards it, and another one of the LAN, each a namespace. */
const tag = `ag6g${process.pid}`;
const [machine, container, lan] = [`${tag}m`, `${tag}c`, `${tag}l`];
const bridge = 'aggl-0123456789';
const gate = 64_713;
const served = '[fd78::2]:80';
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
const inside = (namespace: string, ...words: string[]): string[] => ['netns', 'exec', namespace, ...words];
const gets = (namespace: string, ...as: string[]): number | null =>
  spawnSync('ip', inside(namespace, ...as, 'curl', '-s', '--max-time', '3', `http://${served}/`)).status;

let server: ChildProcess | null = null;

afterAll(() => {
  server?.kill('SIGKILL');
  for (const one of [machine, container, lan]) spawnSync('ip', ['netns', 'del', one]);
});
beforeAll(async () => {
  for (const one of [machine, container, lan]) {
    ip('netns', 'add', one);
    ip('-n', one, 'link', 'set', 'lo', 'up');
  }
  ip('-n', machine, 'link', 'add', bridge, 'type', 'bridge');
  const cable = (to: string, name: string, own: string): void => {
    ip('link', 'add', name, 'netns', machine, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', to);
    ip('-n', to, 'addr', 'add', `${own}2/64`, 'dev', 'eth0', 'nodad');
    for (const [where, what] of [
      [to, 'eth0'],
      [machine, name],
    ] as const)
      ip('-n', where, 'link', 'set', what, 'up');
    ip('-n', to, '-6', 'route', 'add', 'default', 'via', `${own}1`);
  };
  ip('-n', machine, 'addr', 'add', 'fd78::1/64', 'dev', bridge, 'nodad');
  ip('-n', machine, 'link', 'set', bridge, 'up');
  cable(container, 'p1', 'fd78::');
  ip('-n', machine, 'link', 'set', 'p1', 'master', bridge);
  cable(lan, 'p2', 'fd79::');
  ip('-n', machine, 'addr', 'add', 'fd79::1/64', 'dev', 'p2', 'nodad');
  execFileSync('ip', inside(machine, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1'));
  const pages = `require('http').createServer((_, answer) => answer.end('GitLab')).listen(80, '::', () => console.log('up'))`;
  server = spawn('ip', inside(container, process.execPath, '-e', pages), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(server.stdout!, 'data');
}, 30_000);

it('the gate`s user reaches a container by IPv6, and neither root of its machine nor the LAN does', () => {
  const asGate = ['setpriv', `--reuid=${gate}`, `--regid=${gate}`, '--clear-groups'];
  expect([gets(machine), gets(lan), gets(machine, ...asGate)]).toEqual([0, 0, 0]);
  execFileSync('ip', inside(machine, 'nft', '-f', '-'), { input: guardRules({ table: bridge, bridge, uid: gate }) });
  // Refused, not unheard: 7 of curl's is no connection.
  expect([gets(machine), gets(lan), gets(machine, ...asGate)]).toEqual([7, 7, 0]);
});

it('a guard that somebody changed is none: a rule before it, another user, a table that sleeps, none at all', async () => {
  const guard = { table: `t_${tag}`.slice(0, 15), bridge: `b-${tag}`.slice(0, 15), uid: gate };
  const nft = (...words: string[]): void => void execFileSync('nft', words);
  const own = ['inet', guard.table] as const;
  const changes: string[][] = [
    ['insert', 'rule', ...own, 'of_this_machine', 'accept'],
    ['insert', 'rule', ...own, 'of_others', 'oifname', guard.bridge, 'accept'],
    ['add', 'rule', ...own, 'of_others', 'accept'],
    ['add', 'table', ...own, '{ flags dormant; }'],
    ['delete', 'table', ...own],
  ];
  try {
    expect(await isGuarded(guard)).toBe(false);
    for (const change of changes) {
      await setGuard(guard);
      expect([await isGuarded(guard), await isGuarded({ ...guard, uid: gate + 1 })]).toEqual([true, false]);
      nft(...change);
      expect([change[0], await isGuarded(guard)]).toEqual([change[0], false]);
    }
  } finally {
    spawnSync('nft', ['delete', 'table', ...own], { stdio: 'ignore' });
  }
});
