import { generateKeyPair } from '@libp2p/crypto/keys';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../node/doctor/finding.ts';
import type { Wanted } from '../../node/doctor/network-checks.ts';
import type { FoundMesh } from '../../node/enrol/find-meshes.ts';
import { bundleNetworkProcess, type Child, startChild } from '../real/network-child.ts';
import { pause, until } from '../real/network-party.ts';
import { Avahi, addContainersAndVpn, connected, giveLedger, ledgerWithoutAddresses } from './discovery-rig.ts';
import { buildLan, type Lan } from './lan.ts';

/**
 * One rig for all: machines 1 to 3 on one LAN, 1 and 4 on another, no default route anywhere, container bridges and a
 * VPN on the first, avahi on the second.
 */
let bundle = { path: '', remove: async () => {} };
let lan: Lan;
let avahi: Avahi;
const children: Child[] = [];
const mdns = { mdns: true };

async function start(machine: number, options: object): Promise<Child> {
  const child = await startChild(bundle.path, options, lan.inside(machine));
  children.push(child);
  return child;
}
const log = (sentence: string): void => {
  if (process.env.MEASURE) console.log(sentence);
};

/** Lets each find the others by mDNS alone. */
async function meet(mesh: string, members: Child[]): Promise<void> {
  const began = Date.now();
  await giveLedger(members, ledgerWithoutAddresses(mesh, members));
  for (const one of members) {
    const others = members.filter((other) => other !== one).map(({ node }) => node);
    await until(async () => (await connected(one)).join() === others.sort().join(), `${mesh} is connected`, 20_000);
  }
  log(`${mesh}: ${members.length} connected after ${Date.now() - began} ms`);
}

beforeAll(async () => {
  bundle = await bundleNetworkProcess();
  lan = buildLan(4);
  lan.addSecond(1);
  lan.addSecond(4);
  lan.ip(4, 'link', 'del', 'eth0');
  addContainersAndVpn((...args) => lan.ip(1, ...args));
  avahi = new Avahi(lan.inside(2));
  await avahi.started();
});
afterEach(() => Promise.all(children.splice(0).map((one) => one.kill('SIGKILL'))));
afterAll(async () => {
  await avahi?.stop();
  lan?.remove();
  await bundle.remove();
});

describe('machines find each other by mDNS alone', () => {
  it('on every LAN interface, without a route, beside containers, VPN, avahi, and agents on the same machine', async () => {
    const began = Date.now();
    const [kang, second, third, far] = (await Promise.all([
      start(1, mdns),
      start(2, mdns),
      start(3, mdns),
      start(4, mdns),
    ])) as [Child, Child, Child, Child];
    const beside = await start(3, mdns);
    log(`five started after ${Date.now() - began} ms`);
    expect(kang.addresses.filter((one) => one.startsWith('/')).sort()).toEqual([
      `/ip4/10.77.0.1/tcp/7117/p2p/${kang.node}`,
      `/ip4/10.78.0.1/tcp/7117/p2p/${kang.node}`,
    ]);
    expect(new Set([third.port, beside.port]).size).toBe(2);
    for (const child of children) expect(await child.order('problems')).toEqual([]);
    await meet('on-one-lan', [kang, second, third, beside]);
    await meet('on-the-other', [kang, far]);
    expect(avahi.isRunning).toBe(true);
  });

  it('and keep two meshes of one LAN apart', async () => {
    const [kang, second, third] = (await Promise.all([1, 2, 3].map((n) => start(n, mdns)))) as [Child, Child, Child];
    const other = await start(3, mdns);
    const [red, blue] = [ledgerWithoutAddresses('red', [kang, second]), ledgerWithoutAddresses('blue', [third, other])];
    await Promise.all([giveLedger([kang, second], red), giveLedger([third, other], blue)]);
    await until(
      async () => (await Promise.all([kang, second, third, other].map(connected))).every((all) => all.length === 1),
      'both meshes are connected',
      20_000,
    );
    // A newcomer sees both, and a mesh sees strangers only in the other.
    const newcomer = await start(2, mdns);
    const found = await newcomer.order<FoundMesh[]>('find', { ms: 20_000, count: 4 });
    expect(found.map(({ meshName }) => meshName).sort()).toEqual(['blue', 'blue', 'red', 'red']);
    expect(await connected(kang)).toEqual([second.node]);
    expect(await connected(third)).toEqual([other.node]);
  });

  it('though the first packets are lost: a burst follows, and not a minute', async () => {
    const rule = (action: string, chain: string) =>
      lan.run(2, 'iptables', '-w', action, chain, '-p', 'udp', '--dport', '5353', '-j', 'DROP');
    for (const chain of ['INPUT', 'OUTPUT']) rule('-I', chain);
    let isBlocked = true;
    const open = (): void => {
      if (isBlocked) for (const chain of ['INPUT', 'OUTPUT']) rule('-D', chain);
      isBlocked = false;
    };
    try {
      const [kang, second] = (await Promise.all([start(1, mdns), start(2, mdns)])) as [Child, Child];
      await giveLedger([kang, second], ledgerWithoutAddresses('lossy', [kang, second]));
      await pause(500);
      expect(await connected(kang)).toEqual([]);
      open();
      const began = Date.now();
      // The steady question is asked every 10 s only: this is the burst.
      await until(async () => (await connected(kang)).length === 1, 'they are connected', 8000);
      log(`connected ${Date.now() - began} ms after the loss ended`);
    } finally {
      open();
    }
  });
});

describe('a machine that is somewhere else now', () => {
  interface Ended {
    because?: string;
  }

  /** The machine gets another address; `at` is where the other one has it. */
  async function moves(machine: number, from: string, to: string, at: () => Promise<string | null>): Promise<void> {
    // A connection of long standing: of a new one the other side could not know that it is given up.
    await pause(3500);
    lan.ip(machine, 'addr', 'del', `${from}/24`, 'dev', 'eth0');
    lan.ip(machine, 'addr', 'add', `${to}/24`, 'dev', 'eth0');
    const moved = Date.now();
    await until(async () => (await at()) === `${to}:7117`, 'it is found at its new address', 30_000);
    log(`new address: connected after ${Date.now() - moved} ms`);
  }

  it('has another address while it runs, and then another port', async () => {
    const key = Buffer.from((await generateKeyPair('Ed25519')).raw).toString('hex');
    const [kang, second] = (await Promise.all([start(1, mdns), start(2, { ...mdns, key })])) as [Child, Child];
    const ledger = ledgerWithoutAddresses('moving', [kang, second]);
    await giveLedger([kang, second], ledger);
    const at = async (): Promise<string | null> => kang.order<string | null>('addressOf', second.node);
    await until(async () => (await at()) === '10.77.0.2:7117', 'it is where it was started', 20_000);

    // Both, so that the one with the lower id moves once and stays once.
    await moves(2, '10.77.0.2', '10.77.0.22', at);
    await moves(1, '10.77.0.1', '10.77.0.11', () => second.order('addressOf', kang.node));
    await moves(1, '10.77.0.11', '10.77.0.1', () => second.order('addressOf', kang.node));
    // Neither waited until silence told it that the old connection was dead.
    const ends = [kang, second].flatMap(({ said }) => said.map(({ fields }) => (fields as Ended | undefined)?.because));
    expect(ends.filter((because) => because?.startsWith('nothing came'))).toEqual([]);

    await second.kill('SIGKILL');
    const restarted = Date.now();
    const again = await start(2, { ...mdns, key, port: 7200 });
    expect(again.node).toBe(second.node);
    await giveLedger([again], ledger);
    await until(async () => (await at()) === '10.77.0.22:7200', 'it is found at its new port', 30_000);
    log(`new port: connected after ${Date.now() - restarted} ms`);
    lan.ip(2, 'addr', 'del', '10.77.0.22/24', 'dev', 'eth0');
    lan.ip(2, 'addr', 'add', '10.77.0.2/24', 'dev', 'eth0');
  });

  it('is found without mDNS too: where it was last time, and where --peer says', async () => {
    const kang = await start(1, { mdns: false });
    const known = [{ node: kang.node, addresses: kang.addresses }];
    const remembering = await start(2, { mdns: false, known });
    const told = await start(3, { mdns: false, peers: ['10.77.0.1'] });
    const members = [kang, remembering, told];
    await giveLedger(members, ledgerWithoutAddresses('quiet', members));
    await until(async () => (await connected(kang)).length === 2, 'both are connected', 20_000);
  });
});

describe('doctor', () => {
  it('finds out which way is broken, and says what to type', async () => {
    const kang = await start(1, mdns);
    const here = await startChild(bundle.path, { mdns: false }, lan.insideWithSys(2));
    children.push(here);
    const doctor = async (more: Partial<Wanted> = {}): Promise<string[]> => {
      const nodes = [{ name: 'kang', at: [{ host: '10.77.0.1', port: 7117 }] }];
      const wanted: Wanted = { isRunning: true, mdns: true, listen: [], nodes, ...more };
      const found = await here.order<Finding[]>('doctor', wanted);
      return found.map(({ what, state, sentence, fix }) => `${state} ${what} ${sentence}${fix ? ` -> ${fix}` : ''}`);
    };
    const drop = (machine: number, protocol: string, port: number) => {
      const rule = ['-p', protocol, '--dport', String(port), '-j', 'DROP'];
      lan.run(machine, 'iptables', '-w', '-I', 'INPUT', ...rule);
      return () => lan.run(machine, 'iptables', '-w', '-D', 'INPUT', ...rule);
    };

    expect(await doctor()).toEqual([
      'ok discovery mDNS works on 10.77.0.2 (eth0)',
      "ok discovery 1 agent answers by mDNS, this machine's included; 0 meshes",
      'ok reach kang at 10.77.0.1:7117 answers',
    ]);
    expect(await doctor({ isRunning: false, mdns: false, nodes: [] })).toEqual([
      'warn discovery mDNS is switched off: machines are found by known addresses and --peer only -> on is the default; see where mdns was switched off: autogit-node config',
      "warn port 7117/tcp is taken: join will use the next free one -> sudo ss -ltnp 'sport = :7117'",
    ]);

    const allowMdns = drop(2, 'udp', 5353);
    expect((await doctor())[0]).toMatch(
      /^warn discovery mDNS does not come back on 10\.77\.0\.2 \(eth0\): a firewall on this machine drops UDP 5353 -> sudo .*5353/,
    );
    allowMdns();

    const allowKang = drop(1, 'tcp', 7117);
    expect((await doctor()).at(-1)).toMatch(
      /^warn reach kang at 10\.77\.0\.1:7117 does not answer: .*firewall drops 7117\/tcp/,
    );
    allowKang();
    await kang.kill('SIGKILL');
    expect((await doctor()).at(-1)).toMatch(/^warn reach kang at 10\.77\.0\.1:7117 refuses: the machine is up/);

    expect((await doctor({ nodes: [], listen: ['/ip4/10.50.0.1/tcp/7117'] }))[0]).toMatch(
      /^warn discovery --listen names 10\.50\.0\.1, which this machine has not -> choose one of those that are shown by: ip -br addr/,
    );

    await avahi.stop();
    const alone = new Avahi(lan.inside(2), { isAlone: true });
    try {
      await alone.started();
      expect((await doctor({ nodes: [] }))[0]).toMatch(
        /^warn discovery UDP port 5353 cannot be shared .* -> in \/etc\/avahi\/avahi-daemon\.conf set disallow-other-stacks=no/,
      );
    } finally {
      await alone.stop();
    }

    lan.ip(2, 'addr', 'flush', 'dev', 'eth0');
    expect((await doctor({ nodes: [] }))[0]).toMatch(
      /^warn discovery no LAN interface has an IPv4 address here, only loopback -> plug in the cable/,
    );
  });
});
