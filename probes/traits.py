"""Standard trait names for what was found (os-traits 3.9). Pure.

The names stand here as text: importing os_traits walks its whole package (90 ms, 3 MiB). A test
holds every one of them against that library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from probes.component import Component, ComponentKind

# Flag of /proc/cpuinfo (kernel: arch/x86/include/asm/cpufeatures.h) -> traits.
X86 = {
    "3dnow": ("HW_CPU_X86_3DNOW",),
    "abm": ("HW_CPU_X86_ABM",),
    "aes": ("HW_CPU_X86_AESNI",),
    "amx_bf16": ("HW_CPU_X86_AMXBF16",),
    "amx_int8": ("HW_CPU_X86_AMXINT8",),
    "amx_tile": ("HW_CPU_X86_AMXTILE",),
    "avx": ("HW_CPU_X86_AVX",),
    "avx2": ("HW_CPU_X86_AVX2",),
    "avx512f": ("HW_CPU_X86_AVX512F",),
    "avx512cd": ("HW_CPU_X86_AVX512CD",),
    "avx512pf": ("HW_CPU_X86_AVX512PF",),
    "avx512er": ("HW_CPU_X86_AVX512ER",),
    "avx512vl": ("HW_CPU_X86_AVX512VL",),
    "avx512bw": ("HW_CPU_X86_AVX512BW",),
    "avx512dq": ("HW_CPU_X86_AVX512DQ",),
    "avx512_vnni": ("HW_CPU_X86_AVX512VNNI",),
    "avx512vbmi": ("HW_CPU_X86_AVX512VBMI",),
    "avx512ifma": ("HW_CPU_X86_AVX512IFMA",),
    "avx512_vbmi2": ("HW_CPU_X86_AVX512VBMI2",),
    "avx512_bitalg": ("HW_CPU_X86_AVX512BITALG",),
    "avx512_vpopcntdq": ("HW_CPU_X86_AVX512VPOPCNTDQ",),
    "bmi1": ("HW_CPU_X86_BMI",),
    "bmi2": ("HW_CPU_X86_BMI2",),
    "f16c": ("HW_CPU_X86_F16C",),
    "fma": ("HW_CPU_X86_FMA3",),
    "fma4": ("HW_CPU_X86_FMA4",),
    "mmx": ("HW_CPU_X86_MMX",),
    "mpx": ("HW_CPU_X86_MPX",),
    "pclmulqdq": ("HW_CPU_X86_CLMUL",),
    "pdpe1gb": ("HW_CPU_X86_PDPE1GB",),
    "pni": ("HW_CPU_X86_SSE3",),
    "rtm": ("HW_CPU_X86_TSX",),
    "sgx": ("HW_CPU_X86_SGX",),
    "sha_ni": ("HW_CPU_X86_SHA",),
    "sse": ("HW_CPU_X86_SSE",),
    "sse2": ("HW_CPU_X86_SSE2",),
    "sse4_1": ("HW_CPU_X86_SSE41",),
    "sse4_2": ("HW_CPU_X86_SSE42",),
    "sse4a": ("HW_CPU_X86_SSE4A",),
    "ssse3": ("HW_CPU_X86_SSSE3",),
    "stibp": ("HW_CPU_X86_STIBP",),
    "svm": ("HW_CPU_X86_SVM", "HW_CPU_X86_AMD_SVM"),
    "tbm": ("HW_CPU_X86_TBM",),
    "vmx": ("HW_CPU_X86_VMX", "HW_CPU_X86_INTEL_VMX"),
    "xop": ("HW_CPU_X86_XOP",),
    # AMD
    "amd_ssb_no": ("HW_CPU_X86_AMD_NO_SSB",),
    "sev": ("HW_CPU_X86_AMD_SEV",),
    "sev_es": ("HW_CPU_X86_AMD_SEV_ES",),
    "sev_snp": ("HW_CPU_X86_AMD_SEV_SNP",),
    "virt_ssbd": ("HW_CPU_X86_AMD_VIRT_SSBD",),
    # Intel
    "md_clear": ("HW_CPU_X86_INTEL_MD_CLEAR",),
    "tdx_host_platform": ("HW_CPU_X86_INTEL_TDX",),
}
# The trait names the AVX-512 form; Zen 3 and Alder Lake have the flag and only the shorter form.
X86_WITH_AVX512 = {
    "gfni": "HW_CPU_X86_AVX512GFNI",
    "vaes": "HW_CPU_X86_AVX512VAES",
    "vpclmulqdq": "HW_CPU_X86_AVX512VPCLMULQDQ",
}
X86_BY_VENDOR = {
    ("AuthenticAMD", "ibpb"): "HW_CPU_X86_AMD_IBPB",
    ("AuthenticAMD", "ssbd"): "HW_CPU_X86_AMD_SSBD",
    ("GenuineIntel", "ibrs"): "HW_CPU_X86_INTEL_SPEC_CTRL",
    ("GenuineIntel", "pcid"): "HW_CPU_X86_INTEL_PCID",
    ("GenuineIntel", "ssbd"): "HW_CPU_X86_INTEL_SSBD",
}
# Feature of /proc/cpuinfo on arm64 (kernel: Documentation/arch/arm64/elf_hwcaps.rst) -> trait.
AARCH64 = {
    name: f"HW_CPU_AARCH64_{name.upper()}"
    for name in (
        *("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "fphp", "asimdhp"),
        *("asimdrdm", "atomics", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4"),
        *("asimddp", "sha512", "sve", "cpuid"),
    )
}


def of_flags(vendor: str, flags: frozenset[str]) -> frozenset[str]:
    """Return the traits of a processor with these flags; `vendor` as /proc/cpuinfo has it."""
    if "asimd" in flags:
        return frozenset({"HW_ARCH_AARCH64"} | {t for f, t in AARCH64.items() if f in flags})
    found = {trait for flag, traits in X86.items() if flag in flags for trait in traits}
    found |= {t for (v, flag), t in X86_BY_VENDOR.items() if v == vendor and flag in flags}
    if "avx512f" in flags:
        found |= {trait for flag, trait in X86_WITH_AVX512.items() if flag in flags}
    if "lm" in flags:  # long mode
        found.add("HW_ARCH_X86_64")
    return frozenset(found)


def derive(
    components: Iterable[Component], processors: Iterable[tuple[str, frozenset[str]]]
) -> tuple[str, ...]:
    """Return the host's traits, sorted.

    A flag counts only if every processor has it: a lease may land on any of them.
    `processors` are vendors and flags, one or more of each kind.
    """
    sets = [of_flags(vendor, flags) for vendor, flags in processors]
    found = set(frozenset.intersection(*sets)) if sets else set()
    for component in components:
        found |= _of_component(component.kind, dict(component.properties))
    return tuple(sorted(found))


def _of_component(kind: ComponentKind, has: Mapping[str, str]) -> set[str]:
    match kind:
        case ComponentKind.PROCESSOR if int(has.get("threads", 0)) > int(has.get("cores", 0)):
            return {"HW_CPU_HYPERTHREADING"}
        case ComponentKind.DISK if has.get("transport") == "virtio":
            return set()  # says that it rotates unless its host cared to tell
        case ComponentKind.DISK if has.get("rotational") == "1":
            return {"STORAGE_DISK_HDD"}
        case ComponentKind.DISK if has.get("rotational") == "0":
            return {"STORAGE_DISK_SSD"}
        case ComponentKind.NETWORK_INTERFACE if "virtual_functions" in has:
            return {"HW_NIC_SRIOV"}
        case ComponentKind.SYSTEM if int(has.get("numa_nodes", 0)) > 1:
            return {"HW_NUMA_ROOT"}
        case _:
            return set()
