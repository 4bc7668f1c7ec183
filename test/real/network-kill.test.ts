import { generateKeyPair } from '@libp2p/crypto/keys';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bundleNetworkProcess, type Child, startChild } from './network-child.ts';
import { endParties, ledgerOf, party, until } from './network-party.ts';

let bundle = { path: '', remove: async () => {} };
const children: Child[] = [];
beforeAll(async () => {
  bundle = await bundleNetworkProcess();
});
afterAll(() => bundle.remove());
afterEach(async () => {
  await Promise.all(children.splice(0).map((one) => one.kill('SIGKILL')));
  await endParties();
});

describe('an agent that is killed', () => {
  it('is seen to be gone at once, refuses probes, and is back as soon as it runs again', async () => {
    const key = await generateKeyPair('Ed25519');
    const options = { key: Buffer.from(key.raw).toString('hex'), listen: ['127.0.0.1:0'] };
    const a = await party('a');
    const first = await startChild(bundle.path, options);
    children.push(first);
    const ledger = ledgerOf([a]);
    const entry = ledger.nodes[a.id];
    if (entry) ledger.nodes[first.node] = { ...entry, name: 'b', addresses: first.addresses };
    a.network.setLedger(ledger);
    await first.order('ledger', ledger);
    await until(() => a.network.connected().includes(first.node), 'they are connected');
    expect(await a.network.probe(first.node)).toMatchObject({ result: 'accepted' });

    const killedAt = performance.now();
    await first.kill('SIGKILL');
    await until(() => a.events.includes(`disconnected ${first.node}`), 'a knows');
    const tookMs = performance.now() - killedAt;
    expect(await a.network.probe(first.node)).toMatchObject({ result: 'refused' });
    if (process.env.MEASURE) console.log(`killed -> disconnected ${tookMs.toFixed(1)} ms`);

    // On other ports: it must find us by the ledger, and its evidence must be found where it is now.
    const second = await startChild(bundle.path, options);
    children.push(second);
    expect(second.node).toBe(first.node);
    expect(second.port).not.toBe(first.port);
    await second.order('ledger', ledger);
    await until(() => a.network.connected().includes(first.node), 'they are connected again');
    expect(await a.network.probe(first.node)).toMatchObject({ result: 'accepted' });
    expect(a.network.diagnosis.connections()).toBe(1);
  });

  it('a stopped process (SIGSTOP) is not taken for a dead one: its kernel still accepts', async () => {
    const a = await party('a');
    const child = await startChild(bundle.path, { listen: ['127.0.0.1:0'] });
    children.push(child);
    const ledger = ledgerOf([a]);
    const entry = ledger.nodes[a.id];
    if (entry) ledger.nodes[child.node] = { ...entry, name: 'b', addresses: child.addresses };
    a.network.setLedger(ledger);
    await child.order('ledger', ledger);
    await until(() => a.network.connected().includes(child.node), 'they are connected');
    child.process.kill('SIGSTOP');
    for (let i = 0; i < 20; i++) expect(await a.network.probe(child.node)).toMatchObject({ result: 'accepted' });
    child.process.kill('SIGCONT');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(a.events).toEqual([`connected ${child.node}`]);
  });
});
