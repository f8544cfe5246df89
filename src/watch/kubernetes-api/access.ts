/** How an API server is reached, and as whom. */
export type KubernetesAccess =
  /** As the pod that we run in: its ServiceAccount, and the server that the kubelet put into the environment. */
  | { readonly kind: 'in-cluster' }
  | { readonly kind: 'kubeconfig-file'; readonly path: string; readonly context: string | undefined }
  /** `describe` stands in messages: `Secret isthmus-system/west-access`. */
  | { readonly kind: 'kubeconfig-text'; readonly text: string; readonly describe: string };

/** The access in words, for messages. */
export function describeAccess(access: KubernetesAccess): string {
  if (access.kind === 'in-cluster') return "the pod's ServiceAccount";
  return access.kind === 'kubeconfig-text' ? access.describe : access.path;
}
