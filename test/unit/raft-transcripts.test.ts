import { describe, expect, it } from 'vitest';
import { found, mesh } from './raft-cluster.ts';

describe('a mesh from its first day', () => {
  it('is founded by one, which leads at once', () => {
    const cluster = found('kang');
    expect(cluster.until(() => cluster.leaders().length === 1, 1000, 'leads')).toBeLessThan(20);
    expect(cluster.committed('kang').stamp).toEqual({ term: 1, version: 2 });
  });

  it('grows to three voters by approval, through joint configurations only', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    expect(cluster.voters('desktop-2')).toEqual({ kang: 2, 'desktop-1': 2, 'desktop-2': 2 });
    expect(cluster.leaders()).toEqual(['kang']);
  });
});
