import type { Files } from '../core/files.ts'
import { pathOf } from './location.ts'
import { isLive, readManifest } from './manifest.ts'
import { readManifestList } from './manifest-list.ts'
import type { PartitionSpec, Snapshot } from './metadata.ts'

interface NamedManifest {
  readonly path: string
  readonly dataFiles: readonly string[]
}

/**
 * Which files snapshots need: their manifest lists, the manifests in these, the live data files in those. What was read is remembered, because
 * these files never change and a table keeps hundreds of snapshots that share nearly all of them.
 */
export class NamedFiles {
  readonly #files: Files
  /** By the location of the list. */
  #lists = new Map<string, readonly NamedManifest[]>()
  /** By its location. */
  #manifests = new Map<string, NamedManifest>()
  /** One string for each path: every manifest names nearly all files of the one before. */
  #paths = new Map<string, string>()

  constructor(files: Files) {
    this.#files = files
  }

  /** Absolute paths of everything that the snapshots need. TABLE_DAMAGED when one of their Avro files is missing or can't be read. */
  async of(snapshots: readonly Snapshot[], spec: PartitionSpec): Promise<ReadonlySet<string>> {
    const paths = new Set<string>()
    const seen = new Set<NamedManifest>()
    for (const { 'manifest-list': list } of snapshots) {
      paths.add(pathOf(list))
      for (const manifest of await this.#manifestsOf(list, spec)) {
        if (seen.has(manifest)) continue
        seen.add(manifest)
        paths.add(manifest.path)
        for (const path of manifest.dataFiles) paths.add(path)
      }
    }
    return paths
  }

  /** Remembers only what these snapshots need. */
  forgetAllBut(snapshots: readonly Snapshot[]): void {
    const lists = this.#lists
    this.#lists = new Map()
    this.#manifests = new Map()
    this.#paths = new Map()
    for (const { 'manifest-list': list } of snapshots) {
      const manifests = lists.get(list)
      if (manifests === undefined) continue
      this.#lists.set(list, manifests)
      for (const manifest of manifests) {
        this.#manifests.set(manifest.path, manifest)
        for (const path of manifest.dataFiles) this.#paths.set(path, path)
      }
    }
  }

  async #manifestsOf(list: string, spec: PartitionSpec): Promise<readonly NamedManifest[]> {
    const known = this.#lists.get(list)
    if (known !== undefined) return known
    const manifests: NamedManifest[] = []
    for (const row of await readManifestList(this.#files, list)) {
      const path = pathOf(row.manifest_path)
      let manifest = this.#manifests.get(path)
      if (manifest === undefined) {
        const entries = await readManifest(this.#files, row, spec)
        const dataFiles = entries
          .filter(isLive)
          .map((entry) => this.#interned(pathOf(entry.data_file.file_path)))
        manifest = { path, dataFiles }
        this.#manifests.set(path, manifest)
      }
      manifests.push(manifest)
    }
    this.#lists.set(list, manifests)
    return manifests
  }

  #interned(path: string): string {
    const known = this.#paths.get(path)
    if (known === undefined) this.#paths.set(path, path)
    return known ?? path
  }
}
