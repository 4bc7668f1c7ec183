import { randomBytes } from 'node:crypto';
import type { Notice } from '../../protocol/notices.ts';

/** What `notify test` sends: it looks as the others do, and says that nothing is wrong. */
export const testNotice = (mesh: string, node: string, wallMs: number): Notice => ({
  id: `test-${randomBytes(6).toString('hex')}`,
  incident: null,
  state: 'test',
  severity: 'info',
  at: wallMs,
  title: `${mesh}: a test from ${node}`,
  text: 'Whoever reads this is told when something is wrong in the mesh. Nothing is wrong.',
  fix: 'autogit-node status',
  act: null,
});
