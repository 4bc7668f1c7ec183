import { describe, expect, it } from 'vitest';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { labMeasured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

describe('machines that are away', () => {
  it('tells who left from who is gone, and what helps', () => {
    const lab = new Lab({ machines: labMeasured });
    lab.run(1000);
    const view = viewOf(lab, 'desktop-1');
    const ledger = {
      ...lab.committed,
      nodes: { ...lab.committed.nodes, kang: { ...lab.committed.nodes.kang!, left: true } },
    };
    const seen = snapshot({
      ...view,
      ledger,
      liveness: (node) => (node === 'kang' ? { state: 'dead', since: lab.at - 240_000 } : { state: 'alive', since: 0 }),
    });
    const kang = seen.nodes.find(({ node }) => node === 'kang');
    expect([kang?.state, kang?.because]).toEqual([
      'gone',
      'left 4 min ago: its agent was ended, or the machine sleeps',
    ]);
    expect(seen.attention.filter(({ code }) => code === 'node-left')).toEqual([
      expect.objectContaining({ severity: 'info', fix: 'on kang: autogit-node join' }),
    ]);
    const told = { kind: 'ntfy', secret: 'sealed', shown: 'ntfy.lan', since: 1, because: '' };
    const removed = { ...lab.committed, notices: { targets: { phone: told } }, forgotten: { gone: 2 } };
    const known = snapshot({ ...view, ledger: removed }).attention.filter(({ code }) => code === 'secrets-known');
    expect(known).toEqual([
      {
        code: 'secrets-known',
        severity: 'warn',
        sentence: expect.stringContaining('the addresses of who is told of this mesh (phone): change them'),
        fix: 'autogit-node notify add KIND ADDRESS --name NAME',
      },
    ]);
    const died = snapshot({
      ...view,
      liveness: (node) => (node === 'kang' ? { state: 'dead', since: lab.at - 1000 } : { state: 'alive', since: 0 }),
    });
    expect(died.attention.find(({ code }) => code === 'node-suspect')?.fix).toBe(
      'on kang: systemctl status autogit-node',
    );
  });
});
