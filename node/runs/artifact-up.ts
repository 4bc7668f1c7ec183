import type { ArtifactUpload } from '../../gitlab-bridge/artifact-transfer.ts';
import type { JobArtifact } from '../../gitlab-bridge/payload.ts';
import type { Workspace } from '../ports.ts';
import type { Packed } from './artifact-pack.ts';
import { fileChunks } from './file-chunks.ts';
import { packAside, sourceOf } from './packing.ts';

/** What was collected: null `upload` when nothing matched. `said`: lines for the trace. */
interface Collected {
  upload: ArtifactUpload | null;
  said: Packed['said'];
}

/** Collects one artifact's files through the executor into a file of ours; the job's folder is never opened by path. */
export async function collectArtifact(
  workspace: Workspace,
  artifact: JobArtifact,
  file: string,
  { limitBytes, signal }: { limitBytes: number; signal: AbortSignal },
): Promise<Collected> {
  const asked = artifact.artifact_format;
  const format = asked === 'gzip' || asked === 'raw' ? asked : 'zip';
  const type = artifact.artifact_type || 'archive';
  const { paths, exclude } = artifact;
  const isUntracked = artifact.untracked === true;
  const request = { paths, exclude, isUntracked, format, projectDir: workspace.projectDir, file, limitBytes } as const;
  const packed = await packAside(sourceOf(workspace), { ...request, paths: [...paths], exclude: [...exclude] }, signal);
  if (packed.count === 0) return { upload: null, said: packed.said };
  const name = artifact.name || (format === 'zip' ? 'artifacts' : type);
  const filename = format === 'zip' ? `${name}.zip` : format === 'gzip' ? `${name}.gz` : name;
  return {
    said: packed.said,
    upload: {
      open: () => fileChunks(file),
      lengthBytes: packed.sizeBytes,
      filename: filename.split('/').at(-1) as string,
      format,
      type,
      expireIn: artifact.expire_in || null,
    },
  };
}
