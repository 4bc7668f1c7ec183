import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { AgentClient } from '../local-api/socket-client.ts';

/** Of a mesh that runs a GitLab itself. Throws `no-gitlab`; `besides`: what is done with no other one. */
export async function hostedMesh(agent: AgentClient, besides?: string): Promise<StatusSnapshot> {
  const { snapshot } = await agent.status();
  if (snapshot.gitlab.mode === 'hosted') return snapshot;
  const and = besides === undefined ? '' : `, and ${besides} no other`;
  throw new AutogitError('no-gitlab', `this mesh runs no GitLab itself${and}`, { hint: 'autogit-node gitlab deploy' });
}
