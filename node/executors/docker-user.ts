import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import { DockerFiles } from './docker-files.ts';

/** An image's user by its own /etc/passwd: files put in must belong to whom the job runs as. */
export async function lookUpUser(
  container: Docker.Container,
  run: string,
  user: string,
): Promise<{ uid: number; gid: number }> {
  const [name = '', group] = user.split(':');
  if (name === '' || name === 'root') return { uid: 0, gid: 0 };
  if (/^\d+$/.test(name)) return { uid: Number(name), gid: /^\d+$/.test(group ?? '') ? Number(group) : 0 };
  const text = (await new DockerFiles(container, run).text('/etc/passwd', 1 << 20)) ?? '';
  const fields = text.split('\n').map((line) => line.split(':'));
  const found = fields.find((entry) => entry[0] === name);
  if (!found) throw new AutogitError('image-unusable', `the image's user ${name} is not in its /etc/passwd`);
  return { uid: Number(found[2]) || 0, gid: Number(found[3]) || 0 };
}
