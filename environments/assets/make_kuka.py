"""Make the files of `kuka/` from the arm of pybullet_data: few triangles, a fixed gripper.

The results are part of the repository; run this only to change them, with
`pip install trimesh fast_simplification pybullet`, then `python make_kuka.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pybullet_data
import trimesh  # type: ignore[import-not-found]
from write_mesh import write_mesh  # type: ignore[import-not-found]

SOURCE = Path(pybullet_data.getDataPath()) / "kuka_iiwa"
TARGET = Path(__file__).resolve().parent / "kuka"
TRIANGLES = 700  # of the whole arm without its gripper; below about 400 its shape is lost
NOTE = "  <!-- Simplified meshes, convex collision shapes and a gripper: see README.md in this folder. -->\n"
GRIPPER = """  <joint name="gripper_joint" type="fixed">
    <parent link="lbr_iiwa_link_7"/>
    <child link="gripper"/>
    <origin rpy="0 0 0" xyz="0 0 0.185"/>
  </joint>
  <!-- The frame of the gripper lies at the tip of its fingers, z along them. -->
  <link name="gripper">
    <inertial>
      <origin rpy="0 0 0" xyz="0 0 0"/>
      <mass value="0.3"/>
      <inertia ixx="0.001" ixy="0" ixz="0" iyy="0.001" iyz="0" izz="0.001"/>
    </inertial>
    <visual>
      <origin rpy="0 0 0" xyz="0 0 -0.115"/>
      <geometry><box size="0.07 0.13 0.06"/></geometry>
      <material name="Green"><color rgba="0.15 0.55 0.25 1"/></material>
    </visual>
    <visual>
      <origin rpy="0 0 0" xyz="0 0.04 -0.0425"/>
      <geometry><box size="0.03 0.025 0.085"/></geometry>
      <material name="Green"/>
    </visual>
    <visual>
      <origin rpy="0 0 0" xyz="0 -0.04 -0.0425"/>
      <geometry><box size="0.03 0.025 0.085"/></geometry>
      <material name="Green"/>
    </visual>
    <collision>
      <origin rpy="0 0 0" xyz="0 0 -0.0725"/>
      <geometry><box size="0.03 0.105 0.145"/></geometry>
    </collision>
  </link>
"""


def main() -> None:
    """Write eight meshes and the robot description."""
    TARGET.mkdir(exist_ok=True)
    links = [SOURCE / "meshes" / f"link_{index}.obj" for index in range(8)]
    meshes = {path.name: trimesh.load(path, force="mesh") for path in links}
    total = sum(len(mesh.faces) for mesh in meshes.values())
    for name, mesh in meshes.items():
        mesh.merge_vertices(merge_norm=True, merge_tex=True)
        small = mesh.simplify_quadric_decimation(face_count=len(mesh.faces) * TRIANGLES // total)
        write_mesh(TARGET / name, small.vertices, small.faces)
        print(f"{name}: {len(mesh.faces)} -> {len(small.faces)} triangles, z {small.bounds[:, 2].round(4)}")

    urdf = (SOURCE / "model.urdf").read_text()
    # the base stands still: it belongs to the scenery, which is drawn once
    for shape in ("visual", "collision"):
        urdf = re.sub(rf" *<{shape}>.*?</{shape}>\n", "", urdf, count=1, flags=re.DOTALL)
    urdf = urdf.replace("meshes/", "").replace(".stl", ".obj")
    urdf = urdf.replace("<robot ", NOTE.lstrip() + "<robot ").replace("</robot>", GRIPPER + "</robot>")
    (TARGET / "kuka.urdf").write_text("\n".join(line.rstrip() for line in urdf.splitlines()) + "\n")


if __name__ == "__main__":
    main()
